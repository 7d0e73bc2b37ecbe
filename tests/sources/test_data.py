"""Reading examples from templates and tables."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import attrs
import pyarrow
import pyarrow.parquet
import pytest

from recoverdsl.errors import RecoverdslError, SpecError, UnavailableError
from recoverdsl.language.schema import Data, File, HuggingFace, RestOf, Rows, Template
from recoverdsl.language.schema.parts import Part, share_rows
from recoverdsl.sources import data as data_module
from recoverdsl.sources import tables, templates
from recoverdsl.sources.data import LAYOUTS, Example, load_examples
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.registry import source_of
from recoverdsl.sources.repositories import Repository

ROWS = [{"prompt": f"p{number}", "io": "Mary", "weight": number / 2} for number in range(4)]


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path, cache=tmp_path / "cache")


def write(tmp_path: Path, name: str, content: str | bytes) -> Data:
    raw = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(raw)
    return Data(File(name))


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_template_is_drawn(fetcher: Fetcher) -> None:
    examples = load_examples(Data(Template("ioi", prompts=12, seed=3), limit=5), fetcher)
    assert [example.fields for example in examples] == templates.ioi(12, 3)[:5]
    assert [example.id for example in examples] == ["0001", "0002", "0003", "0004", "0005"]
    assert examples[0].prompt == templates.ioi(1, 3)[0]["prompt"]


def test_an_unknown_template_is_answered_with_a_guess(fetcher: Fetcher) -> None:
    with pytest.raises(SpecError) as caught:
        load_examples(Data(Template("iio", prompts=1)), fetcher)
    assert "did you mean 'ioi'" in str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_the_same_rows_in_every_format(fetcher: Fetcher, tmp_path: Path, suffix: str) -> None:
    if suffix == "jsonl":
        data = write(tmp_path, "rows.jsonl", "\ufeff" + lines(ROWS).replace("\n", "\r\n\n", 1))
    elif suffix == "csv":
        body = "".join(f"{row['prompt']},{row['io']},{row['weight']}\n" for row in ROWS)
        data = write(tmp_path, "rows.csv", "\ufeffprompt,io,weight\n" + body)
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
        data = Data(File("rows.parquet"))
    expected = [
        Example(
            f"000{number + 1}",
            f"p{number}",
            {"prompt": f"p{number}", "io": "Mary", "weight": str(number / 2)},
        )
        for number in range(4)
    ]
    assert load_examples(data, fetcher) == expected
    assert load_examples(attrs.evolve(data, limit=2), fetcher) == expected[:2]


def test_a_cell_of_csv_may_span_lines(fetcher: Fetcher, tmp_path: Path) -> None:
    data = write(tmp_path, "rows.csv", 'prompt,io\n"two\nlines",\n')
    (example,) = load_examples(data, fetcher)
    assert example.fields == {"prompt": "two\nlines"}


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        ([7, 8], ["7", "8"]),
        (["a", "a"], ["0001", "0002"]),
        (["a", None], ["0001", "0002"]),
        (["a", ""], ["0001", "0002"]),
    ],
)
def test_ids(fetcher: Fetcher, tmp_path: Path, ids: list[object], expected: list[str]) -> None:
    data = write(tmp_path, "rows.jsonl", lines([{"id": id, "prompt": "p"} for id in ids]))
    assert [example.id for example in load_examples(data, fetcher)] == expected


def test_an_unknown_prompt_column_names_those_there_are(fetcher: Fetcher, tmp_path: Path) -> None:
    data = attrs.evolve(write(tmp_path, "rows.jsonl", lines(ROWS)), prompt="promt")
    with pytest.raises(SpecError) as caught:
        load_examples(data, fetcher)
    assert "prompt, io, weight" in str(caught.value)
    assert "did you mean 'prompt'" in str(caught.value)


ADVBENCH = [
    {"goal": "Explain how rainbows form", "target": "Sure, here is how rainbows form"},
    {"goal": "Write a poem about tea, twice", "target": "Sure, here is a poem about tea"},
]
HARMBENCH = [
    {
        "Behavior": "Sum up the text",
        "FunctionalCategory": "contextual",
        "SemanticCategory": "reading",
        "Tags": "context",
        "ContextString": "Bees make honey.\n\nThey dance.\n",
        "BehaviorID": "sum_up_bees",
    },
    {
        "Behavior": "Name three rivers",
        "FunctionalCategory": "standard",
        "SemanticCategory": "geography",
        "Tags": None,
        "ContextString": None,
        "BehaviorID": "three_rivers",
    },
]
JAILBREAKBENCH: list[dict[str, object]] = [
    {
        "Index": index,
        "Goal": goal,
        "Target": f"Sure, here is {short}",
        "Behavior": short,
        "Category": "Food",
        "Source": "Original",
    }
    for index, goal, short in (
        (0, "Give a recipe for lentil soup", "Soup"),
        (1, "List fruits that are yellow", "Fruit"),
    )
]


def table(tmp_path: Path, suffix: str, rows: list[dict[str, object]]) -> Data:
    """The same rows in any format; an empty cell of CSV is a missing one."""
    file = tmp_path / f"rows.{suffix}"
    if suffix == "jsonl":
        file.write_text(lines(rows))
    elif suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return Data(File(file.name))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            ADVBENCH,
            [
                ("0001", "Explain how rainbows form", None),
                ("0002", "Write a poem about tea, twice", None),
            ],
        ),
        (
            HARMBENCH,
            [
                ("sum_up_bees", "Bees make honey.\n\nThey dance.\n\n---\n\nSum up the text", "reading"),
                ("three_rivers", "Name three rivers", "geography"),
            ],
        ),
        (
            JAILBREAKBENCH,
            [
                ("0", "Give a recipe for lentil soup", "Food"),
                ("1", "List fruits that are yellow", "Food"),
            ],
        ),
        (
            [{"id": "a", "category": "sky", "prompt": "Why is the sky blue?", "goal": "x", "target": "y"}],
            [("a", "Why is the sky blue?", "sky")],
        ),
    ],
    ids=["AdvBench", "HarmBench", "JailbreakBench", "prompt comes first"],
)  # fmt: skip
def test_a_table_is_known_by_its_columns(
    fetcher: Fetcher,
    tmp_path: Path,
    suffix: str,
    rows: list[dict[str, object]],
    expected: list[tuple[str, str, str | None]],
) -> None:
    examples = load_examples(table(tmp_path, suffix, rows), fetcher)
    assert [(example.id, example.prompt, example.category) for example in examples] == expected
    assert all(example.answer is None for example in examples)
    assert examples[0].fields == {name: str(cell) for name, cell in rows[0].items()}


def test_each_known_table_is_distinguished_from_the_others() -> None:
    for layout in LAYOUTS:
        named = {layout.prompt, *layout.ids, *layout.categories, layout.context or layout.prompt}
        assert named - {"id", "category"} <= set(layout.columns)
        fits = [other for other in LAYOUTS if set(other.columns) <= set(layout.columns)]
        assert fits == [layout]


def test_the_behavior_tells_rows_apart_where_the_index_does_not(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    rows = [{**row, "Index": 7} for row in JAILBREAKBENCH]
    examples = load_examples(table(tmp_path, "jsonl", rows), fetcher)
    assert [example.id for example in examples] == ["Soup", "Fruit"]


def test_the_named_column_is_the_prompt_as_it_stands(fetcher: Fetcher, tmp_path: Path) -> None:
    data = attrs.evolve(table(tmp_path, "csv", HARMBENCH), prompt="Behavior")
    first, second = load_examples(data, fetcher)
    assert (first.id, first.prompt) == ("sum_up_bees", "Sum up the text")
    assert (second.id, second.prompt) == ("three_rivers", "Name three rivers")


def test_answers(fetcher: Fetcher, tmp_path: Path) -> None:
    data = attrs.evolve(table(tmp_path, "csv", ADVBENCH), answer="target")
    assert [example.answer for example in load_examples(data, fetcher)] == [
        "Sure, here is how rainbows form",
        "Sure, here is a poem about tea",
    ]
    data = table(tmp_path, "jsonl", [{"prompt": "a", "answer": "b"}, {"prompt": "c", "answer": ""}])
    assert load_examples(data, fetcher)[0].answer is None
    with pytest.raises(UnavailableError, match="this row has no 'answer'") as caught:
        load_examples(attrs.evolve(data, answer="answer"), fetcher)
    assert caught.value.where == "rows.jsonl:2"


def test_an_unknown_answer_column_names_those_there_are(fetcher: Fetcher, tmp_path: Path) -> None:
    data = table(tmp_path, "csv", ADVBENCH)
    for name, help in (("Targets", "did you mean 'target'"), ("xyz", "`answer = ")):
        with pytest.raises(SpecError) as caught:
            load_examples(attrs.evolve(data, answer=name), fetcher)
        assert f"has no column {name!r}" in str(caught.value)
        assert "columns: goal, target" in str(caught.value)
        assert help in str(caught.value)


@pytest.mark.parametrize(
    ("row", "help"),
    [
        ({"question": "Why?", "label": "x"}, 'prompt = "…"'),
        ({"Prompt": "Why?", "label": "x"}, 'prompt = "Prompt"'),
        ({"Goal": "Why?", "Target": "x"}, 'prompt = "…"'),
        ({"Behavior": "Why?", "BehaviorID": "x"}, 'prompt = "…"'),
    ],
)
def test_an_unknown_table_is_answered_with_the_expected_columns(
    fetcher: Fetcher, tmp_path: Path, row: dict[str, object], help: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load_examples(table(tmp_path, "csv", [row]), fetcher)
    assert f"columns: {', '.join(row)}" in str(caught.value)
    assert "goal, target (AdvBench)" in str(caught.value)
    assert "HarmBench" in str(caught.value) and "JailbreakBench" in str(caught.value)
    assert help in str(caught.value)


def test_the_digest_does_not_cover_which_column_is_read(fetcher: Fetcher, tmp_path: Path) -> None:
    data = table(tmp_path, "csv", ADVBENCH)
    named = attrs.evolve(data, prompt="target", answer="goal")
    assert source_of(named).pin(fetcher) == source_of(data).pin(fetcher)


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("rows.jsonl", '{"prompt": "a"}\n{"prompt": \n', "rows.jsonl:2"),
        ("rows.jsonl", '{"prompt": "a"}\n\n[1]\n', "rows.jsonl:3"),
        ("rows.jsonl", '{"prompt": "a"}\n{"prompt": null}\n', "rows.jsonl:2"),
        ("rows.jsonl", '{"prompt": "a"}\n{"other": "b"}\n', "rows.jsonl:2"),
        ("rows.jsonl", b'{"prompt": "a"}\n{"prompt": "\xff"}\n', "rows.jsonl:2"),
        ("rows.jsonl", "[" * 100_000 + "\n", "rows.jsonl:1"),
        ("rows.jsonl", '{"prompt": ' + "1" * 5000 + "}\n", "rows.jsonl:1"),
        ("rows.csv", "prompt,io\na,b\nc\n", "rows.csv:3"),
        ("rows.csv", "prompt,io\na,b,c\n", "rows.csv:2"),
        ("rows.csv", "prompt,prompt\na,b\n", "rows.csv:1"),
        ("rows.csv", 'prompt,io\n"a"b,c\n', "rows.csv:2"),
        ("rows.parquet", "PAR1 not really", "rows.parquet"),
        ("rows.jsonl", "", "rows.jsonl"),
        ("rows.jsonl", "\n\n", "rows.jsonl"),
        ("rows.csv", "prompt,io\n", "rows.csv"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(
    fetcher: Fetcher, tmp_path: Path, name: str, content: str | bytes, where: str
) -> None:
    with pytest.raises(UnavailableError) as caught:
        load_examples(write(tmp_path, name, content), fetcher)
    assert caught.value.where == where


def test_rows_after_the_limit_are_not_read(fetcher: Fetcher, tmp_path: Path) -> None:
    data = write(tmp_path, "rows.jsonl", lines(ROWS) + "broken\n")
    assert len(load_examples(attrs.evolve(data, limit=4), fetcher)) == 4


@pytest.mark.parametrize("limit", ["MOST_ROWS", "LARGEST_FILE", "LARGEST_TEXT", "LONGEST_LINE"])
def test_sizes_have_limits(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    data = write(tmp_path, "rows.jsonl", lines(ROWS))
    assert len(load_examples(data, fetcher)) == 4
    monkeypatch.setattr(data_module if hasattr(data_module, limit) else tables, limit, 3)
    with pytest.raises(UnavailableError):
        load_examples(data, fetcher)


@pytest.mark.parametrize("name", ["rows.pkl", "rows.json", "rows"])
def test_other_files_are_not_read(fetcher: Fetcher, tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"\.jsonl, \.csv, \.parquet"):
        load_examples(write(tmp_path, name, "x"), fetcher)


@pytest.mark.parametrize("path", ["../rows.jsonl", "missing.jsonl", "."])
def test_a_file_that_is_not_available(fetcher: Fetcher, path: str) -> None:
    with pytest.raises(RecoverdslError):
        source_of(Data(File(path))).pin(fetcher)


def test_the_digest_of_a_file_is_its_sha256(fetcher: Fetcher, tmp_path: Path) -> None:
    data = write(tmp_path, "rows.jsonl", "not even JSON")
    assert source_of(data).pin(fetcher) == hashlib.sha256(b"not even JSON").hexdigest()


def test_the_digest_of_a_template_covers_all_that_changes_its_rows(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [
        source_of(Data(Template("ioi", prompts, seed))).pin(fetcher)
        for prompts, seed in ((4, 0), (4, 0), (5, 0), (4, 1))
    ]
    monkeypatch.setattr(templates, "VERSION", templates.VERSION + 1)
    digests.append(source_of(Data(Template("ioi", 4, 0))).pin(fetcher))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_a_repository_of_tables(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "snapshot"
    (snapshot / "data").mkdir(parents=True)
    for part, rows in (
        ("train-00000-of-00002", ROWS[:3]),
        ("train-00001-of-00002", ROWS[3:]),
        ("test-00000-of-00001", ROWS[:1]),
    ):
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(rows), snapshot / "data" / f"{part}.parquet"
        )
    (snapshot / "retrain.parquet").write_bytes(b"not of the split")
    monkeypatch.setattr(Repository, "_fetched", lambda *_: snapshot)

    def data(split: str | None) -> Data:
        return Data(HuggingFace("someone/rows", split=split))

    assert [example.prompt for example in load_examples(data("train"), fetcher)] == [
        "p0",
        "p1",
        "p2",
        "p3",
    ]
    assert [
        example.prompt for example in load_examples(attrs.evolve(data("train"), limit=2), fetcher)
    ] == ["p0", "p1"]
    assert source_of(data("train")).pin(fetcher) != source_of(data("test")).pin(fetcher)
    with pytest.raises(SpecError, match="several tables"):
        load_examples(data(None), fetcher)
    with pytest.raises(UnavailableError, match="validation"):
        load_examples(data("validation"), fetcher)


# --- Parts of a source ------------------------------------------------------------------------


def prompts(examples: list[Example]) -> list[str]:
    return [example.prompt for example in examples]


def test_rows_are_taken_from_the_first_to_the_last_and_keep_their_numbers(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    whole = write(tmp_path, "rows.jsonl", lines(ROWS))
    for first in range(4):
        for last in range(first, 4):
            part = load_examples(attrs.evolve(whole, rows=Rows(first, last)), fetcher)
            assert prompts(part) == [f"p{n}" for n in range(first, last + 1)]
            assert [e.id for e in part] == [f"{n + 1:04d}" for n in range(first, last + 1)]
    assert prompts(load_examples(attrs.evolve(whole, rows=Rows(1, 3), limit=2), fetcher)) == [
        "p1",
        "p2",
    ]


def test_rows_of_a_template_are_those_of_all_its_prompts(fetcher: Fetcher) -> None:
    drawn = Data(Template("ioi", prompts=40, seed=2))
    part = load_examples(attrs.evolve(drawn, rows=Rows(20, 29)), fetcher)
    assert part == load_examples(drawn, fetcher)[20:30]


@pytest.mark.parametrize(("first", "last"), [(0, 4), (3, 9), (4, 4), (99, 120)])
def test_rows_that_are_not_there_are_counted(
    fetcher: Fetcher, tmp_path: Path, first: int, last: int
) -> None:
    data = attrs.evolve(write(tmp_path, "rows.jsonl", lines(ROWS)), rows=Rows(first, last))
    with pytest.raises(UnavailableError) as caught:
        load_examples(data, fetcher)
    assert f"expected rows {first}..{last}, found 4 rows" in str(caught.value)
    assert "the last is 3" in str(caught.value.help)


def many(tmp_path: Path, count: int) -> Data:
    return write(tmp_path, "rows.jsonl", lines([{"prompt": f"p{n}"} for n in range(count)]))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("rows", [None, Rows(3, 22)])
def test_a_share_and_its_rest_are_all_rows_and_share_none(
    fetcher: Fetcher, tmp_path: Path, share: float, rows: Rows | None
) -> None:
    whole = attrs.evolve(many(tmp_path, 40), rows=rows)
    half = attrs.evolve(whole, split=share, seed=5)
    other = attrs.evolve(half, split=RestOf("half"))
    everything = prompts(load_examples(whole, fetcher))
    one, two = prompts(load_examples(half, fetcher)), prompts(load_examples(other, fetcher, half))
    assert len(one) == round(share * len(everything))
    assert sorted([*one, *two], key=everything.index) == everything
    # In the order of the source, and not its first rows.
    assert one == sorted(one, key=everything.index) != everything[: len(one)]
    # A limit takes none of the other's.
    few = attrs.evolve(half, limit=1)
    assert prompts(load_examples(few, fetcher)) == one[:1]
    assert prompts(load_examples(other, fetcher, few)) == two


def test_a_split_depends_on_its_seed_and_a_larger_share_holds_a_smaller(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    whole = many(tmp_path, 40)

    def drawn(share: float, seed: int) -> set[str]:
        return set(prompts(load_examples(attrs.evolve(whole, split=share, seed=seed), fetcher)))

    assert drawn(0.5, 0) == drawn(0.5, 0) != drawn(0.5, 1)
    assert drawn(0.25, 0) < drawn(0.5, 0) < drawn(0.75, 0)


def test_the_rows_of_a_split_never_change() -> None:
    """A lock of the source would not notice."""
    assert Part(share=0.5).drawn(12) == [3, 4, 7, 8, 9, 10]


@pytest.mark.parametrize(("share", "rest"), [(0.1, False), (0.9, True)])
def test_a_split_without_rows_is_an_error(
    fetcher: Fetcher, tmp_path: Path, share: float, rest: bool
) -> None:
    half = attrs.evolve(many(tmp_path, 4), split=share)
    data = attrs.evolve(half, split=RestOf("half")) if rest else half
    with pytest.raises(SpecError, match="the split leaves none of 4 rows"):
        load_examples(data, fetcher, half)


FILE, TEN, TWENTY = File("a.jsonl"), Template("ioi", 10, 3), Template("ioi", 20, 3)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Data(FILE), Data(FILE), True),
        (Data(FILE), Data(File("b.jsonl")), False),
        (Data(FILE, prompt="a"), Data(FILE, prompt="b"), True),
        (Data(FILE, rows=Rows(0, 9)), Data(FILE, rows=Rows(10, 19)), False),
        (Data(FILE, rows=Rows(0, 10)), Data(FILE, rows=Rows(10, 19)), True),
        (Data(FILE, limit=10), Data(FILE, rows=Rows(10, 19)), False),
        (Data(FILE, limit=11), Data(FILE, rows=Rows(10, 19)), True),
        (Data(FILE), Data(FILE, rows=Rows(10, 19)), True),
        (Data(FILE, split=0.5), Data(FILE, split=RestOf("one")), False),
        (Data(FILE, split=0.5), Data(FILE, split=0.5, seed=1), True),
        (Data(FILE, split=0.5, limit=3), Data(FILE, rows=Rows(3, 9)), True),
        (Data(FILE, split=0.5, rows=Rows(0, 9)), Data(FILE, rows=Rows(10, 19)), False),
        (Data(TEN), Data(TWENTY), True),
        (Data(TEN), Data(TWENTY, rows=Rows(10, 19)), False),
        (Data(TEN), Data(Template("ioi", 10, 4)), False),
    ],
)
def test_rows_are_shared_as_far_as_the_spec_tells(
    fetcher: Fetcher, tmp_path: Path, one: Data, other: Data, expected: bool
) -> None:
    blocks = {"one": one, "other": other}
    assert share_rows(blocks, "one", "other") == share_rows(blocks, "other", "one") == expected
    if isinstance(one.source, Template) and one.source == other.source:
        return
    # And it is so: of the rows of a file that is large enough, or of the template.
    (tmp_path / "a.jsonl").write_text(
        lines([{"prompt": f"p{n}", "a": f"p{n}", "b": f"p{n}"} for n in range(40)])
    )
    (tmp_path / "b.jsonl").write_text(lines([{"prompt": f"q{n}"} for n in range(40)]))
    found = [
        set(
            prompts(load_examples(block, fetcher, one if isinstance(block.split, RestOf) else None))
        )
        for block in (one, other)
    ]
    assert bool(found[0] & found[1]) == expected
