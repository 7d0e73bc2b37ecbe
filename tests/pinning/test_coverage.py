"""`check` warns of sources that may change, unless the lock beside the spec pins them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recoverdsl.language import check_file
from recoverdsl.language.schema import Spec
from recoverdsl.pinning.coverage import uncovered
from recoverdsl.pinning.lock import Lock, Pinned
from recoverdsl.pinning.lockfile import lock_path, to_text
from recoverdsl.pinning.sources import sources_of, written
from recoverdsl.server.diagnostics import diagnose
from recoverdsl.server.document import Document
from tests.pinning.conftest import Published
from tests.pinning.edits import edit
from tests.run.commands import cli

SPECS = Path(__file__).parents[2] / "specs"

TEXT = """recoverdsl 1

model m { from = huggingface("a/model") }
sae mid { from = release("gpt2-small-res-jb", id = "blocks.8.hook_resid_pre"); reads = m.layers[8].input }
sae high like mid { reads = m.layers[9].input }
data rows { from = huggingface("a/rows") }
behavior says {
  generate = greedy(tokens = 3)
  holds    = judge > 0.5
  judge    = classifier(huggingface("a/judge"), label = "x")
}
protect kept { in = mid; select = features(1, 2) }
"""
UNPINNED = ["model.m", "sae.mid", "data.rows", "behavior.says.judge"]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "claim.rec"
    path.write_text(TEXT)
    return path


def checked_spec(path: Path) -> Spec:
    spec = check_file(path).spec
    assert spec is not None
    return spec


def lock(path: Path, *, without: str = "", commit: str | None = "c" * 40) -> None:
    """Writes a lock of all sources but one."""
    sources = {
        name: Pinned(written(block), commit=commit)
        for name, block in sources_of(checked_spec(path))
        if name != without
    }
    lock_path(path).write_text(to_text(Lock("0" * 64, {}, {}, sources)))


def warned(path: Path) -> list[str]:
    """Paths of the sources that are warned of."""
    checked = check_file(path)
    assert checked.spec is not None
    places = {str(span): name for name, span in checked.spec.spans.items()}
    return [
        places[str(d.span)].removesuffix(".from").replace("sae.high", "sae.mid")
        for d in uncovered(checked, path)
        if d.code == "REC403"
    ]


def test_without_a_lock_every_source_that_may_change_is_warned_of(spec: Path) -> None:
    assert warned(spec) == UNPINNED
    assert cli("check", spec).out.count("warning[REC403]") == len(UNPINNED)


def test_a_lock_of_all_silences_all(spec: Path) -> None:
    lock(spec)
    assert warned(spec) == []
    assert cli("check", spec).out == "1 spec is valid.\n"


@pytest.mark.parametrize("left_out", [*UNPINNED, "sae.high"])
def test_what_a_lock_leaves_out_is_warned_of(spec: Path, left_out: str) -> None:
    lock(spec, without=left_out)
    # Two SAEs inherit one line, and it is warned of as long as one of them is not pinned.
    assert warned(spec) == [left_out.replace("high", "mid")]


def test_an_editor_shows_the_same(spec: Path) -> None:
    def shown() -> list[str]:
        return [str(d.code) for d in diagnose(Document(TEXT, uri=spec.as_uri()))]

    assert shown() == ["REC403"] * len(UNPINNED)
    lock(spec)
    assert shown() == []
    assert len(diagnose(Document(TEXT, uri="untitled:Untitled-1"))) == len(UNPINNED)


def test_a_lock_of_another_source_pins_nothing(spec: Path) -> None:
    lock(spec)
    edit(spec, "a/model", "a/other")
    assert warned(spec) == ["model.m"]
    lock(spec, commit=None)
    assert warned(spec) == UNPINNED


def test_a_lock_that_cannot_be_read_pins_nothing(spec: Path) -> None:
    lock_path(spec).write_text("no lock")
    assert warned(spec) == UNPINNED


def test_other_warnings_and_mistakes_stay(spec: Path) -> None:
    lock(spec)
    edit(spec, "features(1, 2)", "features(1, 2); selct = 3")
    checked = check_file(spec)
    assert "REC202" in {d.code for d in checked.diagnostics}
    assert uncovered(checked, spec) == checked.diagnostics


def test_a_lock_that_was_written_by_the_command_silences(published: Published) -> None:
    assert "REC403" in cli("check", published.spec).out
    assert cli("lock", published.spec).code == 0
    published.hub.asked.clear()
    checked = cli("check", published.spec).out
    # The prompts that rank are those that are tested, which no lock changes.
    assert re.findall(r"(?m)^(?:warning|error)\[(\w+)\]", checked) == ["REC430"]
    assert checked.endswith("1 spec is valid.\n")
    assert published.hub.asked == []
