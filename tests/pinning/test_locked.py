"""`--locked`: whatever is not as it was locked is refused, all at once, and nothing else is taken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import recoverdsl
from recoverdsl.errors import LockError, UnavailableError
from recoverdsl.pinning import versions as versions_module
from recoverdsl.pinning.differences import Difference
from recoverdsl.pinning.lockfile import lock_path, read_lock
from tests.pinning.conftest import Published
from tests.pinning.edits import edit, flip_last_byte
from tests.run.commands import Outcome, cli

LOCKED = ["run", "plan", "graph"]


@pytest.fixture
def locked(own: Path) -> Path:
    """A claim with its lock."""
    assert cli("lock", own).code == 0
    return own


def refused(spec: Path) -> list[Difference]:
    with pytest.raises(LockError) as caught:
        recoverdsl.load(spec, locked=True)
    assert caught.value.exit_code == 2
    found = [d for d in caught.value.differences if isinstance(d, Difference)]
    assert all(d.help for d in found)
    return found


def run(spec: Path, *options: object) -> Outcome:
    return cli(
        "run", spec, "--out", spec.parent / "out", "--store", spec.parent / "store", *options
    )


# --- What is refused --------------------------------------------------------------------------


def test_one_byte_of_the_weights_is_noticed_and_named(locked: Path) -> None:
    weights = locked.parent / "model" / "model.safetensors"
    before = read_lock(lock_path(locked)).sources["model.tiny"].files or {}
    flip_last_byte(weights)
    (difference,) = refused(locked)
    assert difference.where == "model tiny, model.safetensors"
    assert difference.locked == before["model.safetensors"]
    assert difference.found not in before.values()
    for command in LOCKED:
        done = cli(command, "--locked", locked)
        assert (done.code, done.out) == (2, "")
        assert "  model tiny, model.safetensors\n" in done.err
        assert f"    locked: {difference.locked}\n    found:  {difference.found}\n" in done.err
    flip_last_byte(weights)
    assert cli("plan", "--locked", locked).code == 0


def add_setting(spec: Path) -> None:
    (spec.parent / "sae" / "generation_config.json").write_text("{}")


def drop_setting(spec: Path) -> None:
    (spec.parent / "model" / "generation_config.json").unlink()


def another_source(spec: Path) -> None:
    shutil.copytree(spec.parent / "sae", spec.parent / "other")
    edit(spec, 'folder("sae")', 'folder("other")')


def another_name(spec: Path) -> None:
    edit(spec, "data prompts", "data requests")


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a row": (lambda spec: flip_last_byte(spec.parent / "prompts.jsonl"), ["data prompts, prompts.jsonl"]),
    "a file more": (add_setting, ["sae mid, generation_config.json"]),
    "a file less": (drop_setting, ["model tiny, generation_config.json"]),
    "another value": (lambda spec: edit(spec, "norm <= 6", "norm <= 7"), ["the spec"]),
    "another source": (another_source, ["the spec", "sae mid, source"]),
    "another name": (another_name, ["the spec", "data prompts", "data requests"]),
    "another digest": (lambda spec: edit(lock_path(spec), 'digest = "', 'digest = "0'), ["the spec"]),
    "another version": (
        lambda spec: edit(lock_path(spec), "transformers = ", 'transformers = "4.0.0" # '), ["versions"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_as_it_was_locked_is_refused(name: str, locked: Path) -> None:
    change, where = CHANGES[name]
    change(locked)
    assert [difference.where for difference in refused(locked)] == where


def test_a_comment_or_another_order_is_no_change(locked: Path) -> None:
    text = locked.read_text()
    audit = text[text.index("audit") : text.index("\n", text.index("audit"))]
    locked.write_text(text.replace(audit, "").rstrip() + f"\n\n# moved\n{audit}\n")
    assert cli("plan", "--locked", locked).code == 0


def test_every_difference_is_listed_at_once(locked: Path) -> None:
    changes = ["a row", "a file more", "a file less", "another value", "another version"]
    for name in changes:
        CHANGES[name][0](locked)
    found = {difference.where for difference in refused(locked)}
    assert found == {where for name in changes for where in CHANGES[name][1]}
    assert "5 differences" in cli("run", "--locked", locked).err


def test_versions_are_named_with_the_way_out(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = versions_module.versions()
    monkeypatch.setattr(versions_module, "version_of", lambda name: "9.9+cu999")
    monkeypatch.setattr(versions_module, "sys", SimpleNamespace(version_info=(3, 99, 1)))
    (difference,) = refused(locked)
    assert f"torch {now['torch']}" in difference.locked
    assert f"python {now['python']}" in difference.locked
    assert "torch 9.9," in difference.found
    assert f"use Python {now['python']}" in difference.help
    assert f"pip install gguf=={now['gguf']}" in difference.help
    assert f"recoverdsl lock {locked}" in difference.help


def test_another_build_of_the_same_release_is_the_same_version(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = versions_module.versions()
    monkeypatch.setattr(versions_module, "version_of", lambda name: f"{now[name]}+cu130")
    assert recoverdsl.load(locked, locked=True).lock is not None


def test_without_a_lock_or_with_one_that_cannot_be_read(own: Path) -> None:
    for command in LOCKED:
        done = cli(command, "--locked", own)
        assert done.code == 2
        assert "there is no lock" in done.err
        assert "recoverdsl lock" in done.err
    lock_path(own).write_text("")
    assert cli("plan", "--locked", own).code == 2


def test_an_unavailable_source_is_3_and_beside_other_differences_2(locked: Path) -> None:
    (locked.parent / "prompts.jsonl").unlink()
    with pytest.raises(UnavailableError, match="does not exist"):
        recoverdsl.load(locked, locked=True)
    assert cli("plan", "--locked", locked).code == 3
    flip_last_byte(locked.parent / "sae" / "sae_weights.safetensors")
    assert len(refused(locked)) == 2


def test_values_of_set_have_to_be_the_locked_ones(own: Path) -> None:
    cli("lock", own, "--set", "projected.steps=5")
    assert cli("plan", "--locked", own, "--set", "projected.steps=5").code == 0
    (without,) = refused(own)
    assert without.locked.endswith("with --set projected.steps=5")
    assert without.found.endswith("without --set")
    assert f"recoverdsl run --locked {own} --set projected.steps=5" in without.help
    assert cli("plan", "--locked", own, "--set", "projected.steps=6").code == 2


# --- What is run ------------------------------------------------------------------------------


def test_a_locked_run_finds_what_any_run_finds_and_keeps_its_lock(locked: Path) -> None:
    done = run(locked, "--locked")
    assert done.code == 0, done.said
    out = locked.parent / "out"
    assert (out / "spec.rec.lock").read_bytes() == lock_path(locked).read_bytes()
    result = json.loads((out / "result.json").read_text())
    assert result["environment"]["locked"] is True
    done = run(locked)
    assert done.code == 0
    assert "Nothing was computed" in done.out
    assert not (out / "spec.rec.lock").exists()
    again = json.loads((out / "result.json").read_text())
    assert again["environment"].pop("locked") is False
    del result["environment"]["locked"]
    assert again == result


def test_a_run_that_is_not_held_to_its_lock_says_where_it_differs(locked: Path) -> None:
    assert "note:" not in run(locked).err
    edit(locked, "norm <= 6", "norm <= 7")
    flip_last_byte(locked.parent / "prompts.jsonl")
    done = run(locked)
    assert done.code != 2
    (note,) = [line for line in done.err.splitlines() if line.startswith("note:")]
    assert "differs from the lock: the spec; data prompts, prompts.jsonl." in note
    lock_path(locked).write_text("no lock")
    assert "note:" in run(locked).err
    lock_path(locked).unlink()
    assert "note:" not in run(locked).err


def test_a_locked_sweep_holds_every_point(locked: Path) -> None:
    edit(locked, "measure {", "sweep values { clamp.to = [-5, -4] }\nmeasure {")
    assert cli("lock", locked).code == 0
    done = run(locked, "--locked")
    assert done.code == 0, done.said
    out = locked.parent / "out"
    assert (out / "spec.rec.lock").read_bytes() == lock_path(locked).read_bytes()
    for point in ("001", "002"):
        folder = out / "points" / point
        assert json.loads((folder / "result.json").read_text())["environment"]["locked"] is True
        # The folder of a point is a spec with its own lock, which can be run again beside its files.
        for name in ("spec.rec", "spec.rec.lock"):
            shutil.copy(folder / name, locked.parent / name)
        assert cli("lock", "--check", locked.parent / "spec.rec").code == 0
    flip_last_byte(locked.parent / "prompts.jsonl")
    assert run(locked, "--locked").code == 2


# --- The hub ----------------------------------------------------------------------------------


def test_the_locked_commit_is_run_whatever_the_branch_has_become(published: Published) -> None:
    spec = published.spec
    assert cli("lock", spec).code == 0
    plan = cli("plan", "--locked", spec, "--json")
    assert plan.code == 0, plan.said
    done = run(spec, "--locked")
    assert done.code == 0, done.said
    before = (spec.parent / "out" / "result.json").read_text()
    old = {name: r.branches["main"] for name, r in published.hub.repositories.items()}
    published.model["config.json"] += b"\n"
    published.sae["layer1/cfg.json"] += b"\n"
    published.prompts["prompts.jsonl"] += b"\n"
    published.publish()
    assert old != {name: r.branches["main"] for name, r in published.hub.repositories.items()}
    done = run(spec, "--locked")
    assert "Nothing was computed" in done.out
    assert (spec.parent / "out" / "result.json").read_text() == before
    inputs = {entry["name"]: entry["digest"] for entry in json.loads(before)["inputs"]}
    assert old["someone/tiny"] in inputs["tiny"]
    assert old["someone/saes"] in inputs["mid"]
    done = run(spec)
    assert (
        "differs from the lock: data prompts, commit; model tiny, commit; sae mid, commit."
        in done.err
    )
    assert "Nothing was computed" not in done.out
    moved = (spec.parent / "out" / "result.json").read_text()
    assert published.hub.repositories["someone/tiny"].branches["main"] in moved


def test_a_locked_run_needs_no_network_once_all_is_here(published: Published) -> None:
    cli("lock", published.spec)
    done = run(published.spec, "--locked", "--offline")
    assert done.code == 3
    assert "  model tiny\n" in done.err
    assert "  sae mid, layer1/sae_weights.safetensors\n" in done.err
    assert run(published.spec, "--locked").code == 0
    published.hub.asked.clear()
    shutil.rmtree(published.spec.parent / "store")
    assert run(published.spec, "--locked", "--offline").code == 0
    assert published.hub.asked == []


def test_weights_that_the_hub_did_not_send_as_promised_are_refused(published: Published) -> None:
    cli("lock", published.spec)
    content = bytearray(published.model["model.safetensors"])
    content[-1] ^= 1
    published.hub.corrupt["model.safetensors"] = bytes(content)
    assert cli("plan", "--locked", published.spec).code == 0
    done = run(published.spec, "--locked")
    assert done.code == 2
    assert "  model tiny, model.safetensors\n" in done.err
    assert not (published.spec.parent / "out" / "result.json").exists()


def test_a_repository_that_is_gone_is_not_available(published: Published) -> None:
    cli("lock", published.spec)
    del published.hub.repositories["someone/saes"]
    done = run(published.spec, "--locked")
    assert done.code == 3
    assert "  sae mid, layer1/sae_weights.safetensors\n" in done.err
