"""`recoverdsl lock`: what it writes, the same on every machine, and what `--check` finds."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from recoverdsl.language import load_spec
from recoverdsl.language.schema.canonical import digest
from recoverdsl.pinning.lockfile import lock_path, read_lock
from recoverdsl.pinning.versions import versions
from tests.pinning.conftest import Published
from tests.pinning.edits import edit, flip_last_byte
from tests.run.commands import cli


def test_the_lock_lies_beside_the_spec_and_holds_all_that_it_names(own: Path) -> None:
    done = cli("lock", own)
    assert (done.code, done.out) == (0, f"{own}.lock is written: 3 sources, 8 files.\n")
    assert done.err == ""
    lock = read_lock(lock_path(own))
    assert lock.spec == digest(load_spec(own))
    assert lock.versions == versions()
    assert set(lock.sources) == {"model.tiny", "sae.mid", "data.prompts"}
    assert {p.name for p in own.parent.iterdir()} == {
        own.name, f"{own.name}.lock", "model", "sae", "prompts.jsonl",
    }  # fmt: skip


def test_the_same_files_in_another_folder_give_the_same_bytes(own: Path, tmp_path: Path) -> None:
    other = tmp_path / "another" / "machine"
    shutil.copytree(own.parent, other)
    (other / "sae" / "notes.md").write_text("nothing that is loaded")
    edit(other / own.name, "audit", "# a comment\naudit")
    for spec in (own, other / own.name):
        assert cli("lock", spec).code == 0
    assert lock_path(own).read_bytes() == lock_path(other / own.name).read_bytes()


def test_what_is_locked_stays_locked(own: Path) -> None:
    cli("lock", own)
    before = lock_path(own).read_bytes()
    cli("lock", own)
    assert lock_path(own).read_bytes() == before
    done = cli("lock", "--check", own)
    assert (done.code, done.out) == (0, f"{own}.lock is up to date.\n")


def test_the_mode_of_a_lock_stays(own: Path) -> None:
    cli("lock", own)
    lock_path(own).chmod(0o640)
    assert cli("lock", own).code == 0
    assert stat.S_IMODE(lock_path(own).stat().st_mode) == 0o640


def test_check_lists_what_differs_and_writes_nothing(own: Path) -> None:
    cli("lock", own)
    before = lock_path(own).read_bytes()
    weights = own.parent / "sae" / "sae_weights.safetensors"
    flip_last_byte(weights)
    edit(own, "norm <= 6", "norm <= 7")
    done = cli("lock", "--check", own)
    assert done.code == 1
    heads = [line for line in done.out.splitlines() if not line.startswith(" ")]
    assert heads == [
        "the spec",
        "sae mid, sae_weights.safetensors",
        f"{own}.lock is out of date: 2 differences.",
    ]
    assert lock_path(own).read_bytes() == before
    assert cli("lock", own).code == 0
    assert cli("lock", "--check", own).code == 0


def test_check_without_a_lock_or_with_one_that_cannot_be_read(own: Path) -> None:
    done = cli("lock", "--check", own)
    assert (done.code, done.err) == (1, "")
    assert "there is no lock" in done.out
    lock_path(own).write_text("<<<<<<< ours\n")
    done = cli("lock", "--check", own)
    assert done.code == 1
    assert "not a valid lock" in done.out
    assert cli("lock", own).code == 0


def test_check_wants_the_very_text_that_would_be_written(own: Path) -> None:
    cli("lock", own)
    edit(lock_path(own), "\n[versions]", "\n# mine\n[versions]")
    done = cli("lock", "--check", own)
    assert done.code == 1
    assert "has the right content in another layout" in done.out


def test_values_of_set_are_in_the_lock(own: Path) -> None:
    assert cli("lock", own, "--set", "projected.steps=5").code == 0
    lock = read_lock(lock_path(own))
    assert lock.overrides == {"projected.steps": "5"}
    assert lock.spec == digest(load_spec(own, overrides={"projected.steps": "5"}))
    assert cli("lock", "--check", own, "--set", "projected.steps=5").code == 0
    done = cli("lock", "--check", own)
    assert done.code == 1
    assert f"run it as locked: recoverdsl run --locked {own} --set projected.steps=5" in done.out


def test_all_unavailable_sources_are_listed_at_once_and_nothing_is_written(own: Path) -> None:
    (own.parent / "prompts.jsonl").unlink()
    shutil.rmtree(own.parent / "sae")
    done = cli("lock", own)
    assert (done.code, done.out) == (3, "")
    assert "2 sources cannot be locked" in done.err
    assert "sae mid: 'sae' does not exist" in done.err
    assert "data prompts: 'prompts.jsonl' does not exist" in done.err
    assert not lock_path(own).exists()


def test_what_cannot_be_run_is_not_locked(own: Path) -> None:
    edit(own, "measure {", 'model other { from = folder("model") }\nmeasure {')
    done = cli("lock", own)
    assert done.code == 2
    assert "more than one model" in done.err


def test_what_only_a_point_of_a_sweep_names_is_locked_too(own: Path) -> None:
    shutil.copytree(own.parent / "sae", own.parent / "other")
    flip_last_byte(own.parent / "other" / "sae_weights.safetensors")
    edit(own, "measure {", 'sweep saes { mid.from = [folder("sae"), folder("other")] }\nmeasure {')
    assert cli("lock", own).code == 0
    lock = read_lock(lock_path(own))
    assert set(lock.sources) == {"model.tiny", "data.prompts", "sae.mid", "sweep.saes.2.sae.mid"}
    assert lock.sources["sweep.saes.2.sae.mid"].source == 'folder("other")'
    assert cli("lock", "--check", own).code == 0
    flip_last_byte(own.parent / "other" / "sae_weights.safetensors")
    done = cli("plan", "--locked", own)
    assert done.code == 2
    assert "  sweep saes 2 sae mid, sae_weights.safetensors\n" in done.err


def test_a_folder_that_cannot_be_written_ends_with_3(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_path(own).mkdir()
    done = cli("lock", own)
    assert done.code == 3
    assert "this file cannot be written" in done.err


def test_locking_loads_no_model_library(own: Path) -> None:
    code = (
        "import sys; from recoverdsl.commands.app import app\n"
        f"app(['lock', {str(own)!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'sae_lens', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- The hub ----------------------------------------------------------------------------------


def test_a_branch_is_locked_at_its_commit_and_no_weights_are_fetched(published: Published) -> None:
    done = cli("lock", published.spec)
    assert done.code == 0, done.said
    assert not any(name.endswith(".safetensors") for name in published.hub.fetched())
    lock = read_lock(lock_path(published.spec))
    assert {path: pinned.commit for path, pinned in lock.sources.items()} == {
        "model.tiny": published.hub.repositories["someone/tiny"].branches["main"],
        "sae.mid": published.hub.repositories["someone/saes"].branches["main"],
        "data.prompts": published.hub.repositories["datasets/someone/prompts"].branches["main"],
    }
    assert set(lock.sources["model.tiny"].files or {}) == set(published.model)
    assert lock.sources["sae.mid"].repository == "someone/saes"


def test_check_sees_that_a_branch_has_moved(published: Published) -> None:
    cli("lock", published.spec)
    assert cli("lock", "--check", published.spec).code == 0
    published.model["config.json"] += b"\n"
    published.publish()
    done = cli("lock", "--check", published.spec)
    assert done.code == 1
    assert "model tiny, commit\n" in done.out
    assert "model tiny, config.json\n" in done.out


def test_offline_what_was_fetched_last_is_locked(published: Published) -> None:
    cli("lock", published.spec)
    online = lock_path(published.spec).read_bytes()
    lock_path(published.spec).unlink()
    done = cli("lock", "--offline", published.spec)
    assert done.code == 3
    assert "sources cannot be locked" in done.err
    assert cli("run", published.spec, "--out", published.spec.parent / "out").code == 0
    published.hub.asked.clear()
    done = cli("lock", "--offline", published.spec)
    assert done.code == 0, done.said
    assert published.hub.asked == []
    assert lock_path(published.spec).read_bytes() == online
