"""No file of a run holds text of a prompt or completion, unless the run is asked to reveal them."""

from __future__ import annotations

import html
import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from attrs import frozen

import recoverdsl
from recoverdsl.audit.texts import shown_ids, texts
from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import Behavior, KeepValidFlips, Measure, RunBase
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.steps.delta_split import DeltaPart, DeltaParts
from recoverdsl.engine.steps.output import Output, StepResult, ValidFlips
from recoverdsl.engine.steps.table_record import Replay
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Detector
from recoverdsl.measure.keys import TableKey
from recoverdsl.report.revealed import Revealed, to_lines
from recoverdsl.sources.data import Example
from recoverdsl.store.run_folder import RunFolder, private
from tests.run import answers
from tests.run.commands import Outcome, cli

FEWEST = 3
"""So many words in a row are text."""

FILES = {
    "result.json", "report.html", "environment.json", "examples.parquet", "perturbations.safetensors",
    "spec.rec", "events.jsonl",
}  # fmt: skip


@frozen
class Runs:
    """The tiny audit: redacted, then revealed, then redacted into the folder of the revealed run."""

    redacted: Path
    revealed: Path
    after: Path
    said: dict[str, Outcome]
    run: recoverdsl.Run
    """The revealed run, from Python."""
    store: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("redaction")
    spec, store = answers.write(folder), folder / "made" / "store"

    def run(out: str, *options: str) -> Outcome:
        done = cli("run", spec, "--out", folder / out, "--store", store, *options)
        assert done.code == 0, done.said
        return done

    said = {"redacted": run("redacted"), "revealed": run("revealed", "--reveal")}
    shutil.copytree(folder / "revealed", folder / "after")
    # As a run that was killed while it wrote leaves it.
    shutil.copy(folder / "after/texts.jsonl", folder / "after/.texts.jsonl.123")
    said["after"] = run("after")
    again = recoverdsl.load(spec).run(store=store, reveal=True)
    return Runs(
        folder / "redacted", folder / "revealed", folder / "after", said, again, store
    )  # fmt: skip


def prompts_and_completions(run: recoverdsl.Run) -> set[str]:
    found = {text.prompt for text in run.texts}
    for text in run.texts:
        found |= {one for one in (text.base, text.defended, text.text) if one is not None}
    return found


def fragments(text: str) -> Iterator[str]:
    """Return the text, and every three consecutive words of it; longer runs hold these."""
    if text.strip():
        yield text.strip()
    words = text.split()
    for at in range(len(words) - FEWEST + 1):
        yield " ".join(words[at : at + FEWEST])


def contents(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield every file of a folder in every way that it can be read as text, with single spaces."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        ways = [content.decode("utf-8", "ignore"), content.decode("utf-16-le", "ignore")]
        ways.append(html.unescape(ways[0]))
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            ways += [json.dumps(table.to_pylist(), default=str), str(table.schema.metadata)]
        if path.suffix == ".safetensors":
            length = int.from_bytes(content[:8], "little")
            ways.append(json.dumps(json.loads(content[8 : 8 + length]), ensure_ascii=False))
        if path.suffix in (".json", ".jsonl"):
            lines = ways[0].splitlines() if path.suffix == ".jsonl" else [ways[0]]
            ways.append(json.dumps([json.loads(line) for line in lines], ensure_ascii=False))
        for way in ways:
            yield path.name, " ".join(way.split())


def found_in(folder: Path, wanted: set[str]) -> dict[str, set[str]]:
    """Return which of some fragments are in which file, whatever their case."""
    found: dict[str, set[str]] = {}
    for name, text in contents(folder):
        lower = text.casefold()
        here = {one for one in wanted if one.casefold() in lower}
        if here:
            found.setdefault(name, set()).update(here)
    return found


@pytest.fixture(scope="module")
def wanted(runs: Runs) -> set[str]:
    found = {
        " ".join(fragment.split())
        for text in prompts_and_completions(runs.run)
        for fragment in fragments(text)
    }
    assert len(found) > 100
    return found


def test_there_is_text_of_every_kind_to_look_for(runs: Runs) -> None:
    attacks = {text.name for text in runs.run.texts if text.kind == "attack"}
    controls = {text.name for text in runs.run.texts if text.kind == "control"}
    assert attacks == {"recover", "staged", "shared", "exact", "sketch"}
    assert controls == {"noise", "unrelated", "undefended"}
    flips = runs.run.result.counts.valid_flips
    assert flips > 0
    assert (
        sum(text.name == "recover" and text.kind == "attack" for text in runs.run.texts)
        == 2 * flips
    )
    assert (
        sum(text.kind == "defended" for text in runs.run.texts) == runs.run.result.counts.examples
    )


def test_no_file_of_a_redacted_run_holds_text(runs: Runs, wanted: set[str]) -> None:
    assert {path.name for path in runs.redacted.iterdir()} == FILES
    assert found_in(runs.redacted, wanted) == {}


def test_no_file_of_a_redacted_run_holds_tokens(runs: Runs) -> None:
    content = (runs.redacted / "perturbations.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert not [name for name in header if any(w in name for w in ("answer", "length", "suffix"))]
    dtypes = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    assert dtypes == {"F32"}


def test_figures_replace_the_texts(runs: Runs) -> None:
    rows = pq.read_table(runs.redacted / "examples.parquet").to_pandas()
    attacked = rows[rows["kind"] == "attack"]
    assert attacked["example"].str.fullmatch(r"r\d+").all()
    assert set(attacked["category"]) <= {"a", "b"}
    assert (
        attacked[["opening", "words", "characters", "answer_tokens", "jaccard"]].notna().all().all()
    )


def test_a_revealed_run_has_every_text(runs: Runs, wanted: set[str]) -> None:
    assert {path.name for path in runs.revealed.iterdir()} == FILES | {"texts.jsonl"}
    found = found_in(runs.revealed, wanted)
    assert set(found) == {"texts.jsonl", "report.html"}
    assert found["texts.jsonl"] == found["report.html"] == wanted


KINDS = ["attack", "control", "unconstrained_control"]


def test_the_lines_of_a_revealed_run_are_its_texts(runs: Runs) -> None:
    written = (runs.revealed / "texts.jsonl").read_text()
    assert written == to_lines(runs.run.texts)
    lines = [json.loads(line) for line in written.splitlines()]
    keys = {"example", "kind", "name", "limit", "part", "how", "prompt", "base", "defended", "text"}
    assert all(keys <= set(line) for line in lines)
    # The judge found what these texts say.
    rows = pq.read_table(runs.revealed / "examples.parquet").to_pandas()
    lengths = {
        (line["kind"], line["name"], line["limit"], line["example"], line["draw"]): len(
            line["text"].strip()
        )
        for line in lines
        if line["kind"] in KINDS
    }
    attacked = rows[rows["kind"].isin(KINDS)]
    assert len(attacked) == len(lengths)
    for row in attacked.itertuples():
        draw = None if pd.isna(row.draw) else int(row.draw)
        assert lengths[row.kind, row.name, row.limit, row.example, draw] == row.characters


def test_a_redacted_run_leaves_none_of_an_earlier_revealed_one(
    runs: Runs, wanted: set[str]
) -> None:
    assert {path.name for path in runs.after.iterdir()} == FILES
    assert found_in(runs.after, wanted) == {}


def test_a_revealed_run_says_so_and_finds_the_same(runs: Runs) -> None:
    assert "This run reveals texts" in runs.said["revealed"].out
    assert "revealed" not in runs.said["redacted"].out
    assert "This run reveals texts" in (runs.revealed / "report.html").read_text()
    results = [json.loads((p / "result.json").read_text()) for p in (runs.redacted, runs.revealed)]
    assert [result["environment"].pop("revealed") for result in results] == [False, True]
    assert results[0] == results[1]


def test_nothing_is_printed_of_the_texts(runs: Runs, wanted: set[str]) -> None:
    for outcome in runs.said.values():
        said = " ".join(outcome.said.split())
        assert not [one for one in wanted if one in said]


def test_a_run_from_python_reveals_nothing_unless_asked(runs: Runs) -> None:
    spec = runs.redacted.parent / "answers.rec"
    run = recoverdsl.load(spec).run(store=runs.store)
    assert run.texts == ()
    page = run.html()
    assert not [t for t in prompts_and_completions(runs.run) if t.strip() and t in page]


def test_the_help_warns_of_harmful_data() -> None:
    said = " ".join(cli("run", "--help").out.split())
    assert "--reveal" in said
    assert "harmful" in said


# --- Where texts would be by accident ---


def test_the_store_can_be_entered_by_its_owner_alone(runs: Runs, tmp_path: Path) -> None:
    for folder in (runs.store, runs.store.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    private(there)
    assert stat.S_IMODE(there.stat().st_mode) == 0o755
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError):
        private(tmp_path / "file" / "store")


def test_the_cache_can_be_entered_by_its_owner_alone(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOVERDSL_CACHE", str(tmp_path / "a" / "cache"))
    recoverdsl.load(runs.redacted.parent / "answers.rec").graph("cpu")
    assert stat.S_IMODE((tmp_path / "a" / "cache").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("id", "prompt", "reveals"),
    [
        ("r1", "one two three four", False),
        ("one-two", "one two three four", False),
        ("three_four_five", "one two three four", True),
        ("boil-an-egg", "How long do eggs have to BOIL?", True),
        ("boil2", "How long do eggs have to boil?", True),
        ("an-egg", "An egg is what?", False),
        ("Two-three_FOUR", "one two three four", True),
        ("please: one two three", "one two three four", True),
        ("hello", "Hello!", True),
        ("0001", "", False),
    ],
)
def test_an_id_that_holds_text_of_its_prompt_is_not_shown(
    id: str, prompt: str, reveals: bool
) -> None:
    examples = [Example("first", "something else altogether", {}), Example(id, prompt, {})]
    shown = shown_ids(examples)
    assert shown == ({"first": "0001", id: "0002"} if reveals else {"first": "first", id: id})


def test_no_file_holds_ids_that_are_prompts(tmp_path: Path) -> None:
    spec = answers.write(tmp_path, "attack a { perturb = mid at last_token; maximize = logprob(base_answer); limit = norm <= 2; steps = 2 }\n")  # fmt: skip
    path = tmp_path / "requests.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(
        "".join(json.dumps({**r, "id": f"{n}-{r['prompt']}"}) + "\n" for n, r in enumerate(rows))
    )
    run = recoverdsl.load(spec).run(tmp_path / "out", store=tmp_path / "store")
    assert run.result.counts.valid_flips
    assert found_in(tmp_path / "out", {row["prompt"] for row in rows}) == {}
    assert run.examples["example"].str.fullmatch(r"\d{4}").all()


def test_texts_of_parts_are_revealed_where_they_were_stored() -> None:
    def answers(*ids: int) -> Answers:
        ids_BN = torch.tensor([[*ids, 9]])
        flag_B = torch.tensor([False])
        return Answers(ids_BN, torch.tensor([len(ids)]), flag_B, flag_B)

    def part(alone: Answers | None, without: Answers | None) -> DeltaPart:
        return DeltaPart(torch.zeros(1, 1, 1, 1), Replay((), alone), Replay((), without))

    parts = {"residual": part(answers(1, 2), None), "5": part(None, answers(4, 5))}
    graph = Graph({})
    behavior = Behavior(Detector("refuses"), generate=2)
    base = graph.add("base", RunBase(behavior))
    graph.tables[TableKey("part", "recover", 8.0)] = "split"
    output = Output(
        graph,
        {
            base: StepResult(Observations((), answers=answers(7, 8))),
            "keep": StepResult(ValidFlips((0,))),
            "split": StepResult(DeltaParts(torch.tensor([[1]]), parts)),
        },
    )
    graph.add("keep", KeepValidFlips())
    # Of the step that made the table, only its flips are read.
    graph.add("split", Measure({}), flips="keep")
    resources = SimpleNamespace(
        examples=[Example("r0", "why?", {})], model=SimpleNamespace(decode=str)
    )
    revealed = texts(cast(Any, resources), output, {"r0": "r0"})
    first = Revealed("r0", None, "defended", None, None, "why?", "[7, 8]", None)
    assert revealed[0] == first
    assert [(t.kind, t.name, t.limit, t.part, t.how, t.text) for t in revealed[1:]] == [
        ("part", "recover", 8.0, "residual", "alone", "[1, 2]"),
        ("part", "recover", 8.0, "5", "without", "[4, 5]"),
    ]


def test_clearing_a_folder_that_is_not_there_is_no_mistake(tmp_path: Path) -> None:
    RunFolder(tmp_path / "none").clear()


def test_the_name_of_a_category_in_many_ids_reveals_nothing() -> None:
    examples = [Example(f"writing-{n:03d}", f"A writing task, number {n}.", {}) for n in range(20)]
    assert shown_ids(examples) == {example.id: example.id for example in examples}
