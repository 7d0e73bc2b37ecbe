"""The examples of a `data` block. Tables are read as text and numbers; nothing in them is run."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import Data, File, HuggingFace, Template
from recoverdsl.sources import DATA, Fetcher, templates
from recoverdsl.sources.tables import Row, read_rows

MOST_ROWS = 1_000_000
"""The most rows that are loaded."""

LARGEST_TEXT = 1 << 28
"""The most text that is held, in characters over all rows."""


@attrs.frozen
class Example:
    """One row.

    Args:
        id: what the `id` column says, where every row has its own; else the row's number, `0001`.
        prompt: the text of the prompt column; in HarmBench, after the document that it is about.
        fields: every column that the row has, as text; an empty cell is left out.
        answer: the text of the answer column, if the block names one.
        category: what the `category` column says, or the benchmark's own.
    """

    id: str
    prompt: str
    fields: Mapping[str, str]
    answer: str | None = None
    category: str | None = None


@attrs.frozen
class Layout:
    """Where a table keeps what an example is made of.

    Args:
        name: what the table is called in messages.
        prompt: the column of the request.
        columns: a table that has all of these is in this layout; others may be there too.
        ids: columns that may tell the rows apart; the first that does is taken.
        categories: columns that may say what kind of request it is; the first that is there.
        context: the column of a document that the request is about; it comes before the request.
    """

    name: str
    prompt: str
    columns: tuple[str, ...]
    ids: tuple[str, ...] = ("id",)
    categories: tuple[str, ...] = ("category",)
    context: str | None = None


PLAIN = Layout("a table of prompts", "prompt", columns=("prompt",))

LAYOUTS = (
    PLAIN,
    Layout("AdvBench", "goal", columns=("goal", "target")),
    Layout(
        "HarmBench",
        "Behavior",
        columns=(
            "Behavior", "BehaviorID", "FunctionalCategory", "SemanticCategory", "Tags",
            "ContextString",
        ),
        ids=("id", "BehaviorID"),
        categories=("category", "SemanticCategory"),
        context="ContextString",
    ),
    Layout(
        "JailbreakBench",
        "Goal",  # `Behavior` is a short name of the request
        columns=("Index", "Goal", "Target", "Behavior", "Category", "Source"),
        ids=("id", "Index", "Behavior"),
        categories=("category", "Category"),
    ),
)  # fmt: skip
"""Tables whose columns are known, so that a benchmark which somebody brings needs no `prompt = …`.

The first that fits is taken, so a column `prompt` comes before every benchmark's.
"""


def load_examples(data: Data, fetcher: Fetcher) -> list[Example]:
    """The examples of a data block, at most `data.limit`, in the order of the table."""
    if isinstance(data.source, Template):
        files = [(f"template({data.source.name!r})", _drawn(data.source, data.limit))]
    else:
        files = [(file.name, read_rows(file)) for file in _files(data.source, fetcher)]
    most = data.limit or MOST_ROWS + 1
    layout: Layout | None = None
    texts: list[dict[str, str]] = []
    characters = 0
    for name, rows in files:
        for line, cells in islice(rows, most - len(texts)):
            text = _texts(cells, f"{name}:{line}")
            layout = layout or _layout(data, list(cells), name)
            for column in (layout.prompt, data.answer):
                if column is not None and not text.get(column):
                    raise UnavailableError(f"this row has no {column!r}", where=f"{name}:{line}")
            texts.append(text)
            characters += sum(map(len, text.values()))
            if len(texts) > MOST_ROWS or characters > LARGEST_TEXT:
                raise UnavailableError(
                    "holds more than can be loaded",
                    where=name,
                    why=f"over {MOST_ROWS:,} rows or {LARGEST_TEXT:,} characters",
                    help="use the first rows only, with `limit`",
                )
    if layout is None:
        raise UnavailableError("holds no rows", where=", ".join(name for name, _ in files))
    return [
        _example(id, text, layout, data.answer)
        for id, text in zip(_ids(texts, layout), texts, strict=True)
    ]


def drawn_digest(source: Template) -> str:
    """The sha256 of all rows that are drawn from a template, as JSON lines."""
    rows = _template(source)(source.prompts, source.seed)
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    return hashlib.sha256(lines.encode()).hexdigest()


def data_digest(data: Data, fetcher: Fetcher) -> str:
    """What the rows of a data block come from, as 64 hexadecimal digits; no row is parsed.

    One file's digest is the sha256 of its contents. A template's covers the template's version,
    its name, the count and the seed. The block's other attributes do not count.
    """
    source = data.source
    if isinstance(source, Template):
        _template(source)
        drawn: list[Any] = ["template", templates.VERSION, source.name, source.prompts, source.seed]
        return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()
    digests = [fetcher.digest(file) for file in _files(source, fetcher)]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


# --- Where rows come from -------------------------------------------------------------------------


def _template(source: Template) -> Callable[[int, int], list[dict[str, str]]]:
    known = templates.TEMPLATES
    if source.name not in known:
        close = difflib.get_close_matches(source.name, known, n=1, cutoff=0.5)
        raise SpecError(
            f"there is no template {source.name!r}",
            why=f"templates: {', '.join(sorted(known))}",
            help=f"did you mean {close[0]!r}?" if close else None,
        )
    if source.prompts > MOST_ROWS:
        raise SpecError(f"{source.prompts:,} prompts are more than can be loaded, {MOST_ROWS:,}")
    return known[source.name]


def _drawn(source: Template, limit: int | None) -> Iterator[Row]:
    count = min(source.prompts, limit or source.prompts)
    return enumerate(_template(source)(count, source.seed), start=1)


def _files(source: File | HuggingFace, fetcher: Fetcher) -> list[Path]:
    if isinstance(source, File):
        return [fetcher.file(source)]
    place = fetcher.huggingface(source, "data")
    if place.is_file():
        return [place]
    inside = (file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())
    return [place / name for name in table_files(inside, source)]


def table_files(names: Iterable[str], source: HuggingFace) -> list[str]:
    """Which files of a repository, or of the folder of it that is meant, hold the rows; in order.

    Raises:
        UnavailableError: none does.
        SpecError: several tables could be meant.
    """
    found = sorted(file for file in map(PurePosixPath, names) if file.suffix.lower() in DATA)
    # `train` is a whole word in `data/train-00000-of-00002.parquet`, and not in `retrained.jsonl`.
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(source.split or '')}(?![A-Za-z0-9])")
    files = [file for file in found if not source.split or word.search(str(file))]
    where = f"huggingface({source.repository!r})"
    if not files:
        raise UnavailableError(
            "has no table that can be read",
            where=where,
            why=f"looked for {', '.join(DATA)}"
            + (f" of split {source.split!r}" if source.split else ""),
            help=f"found {', '.join(map(str, found[:5]))}"
            if found
            else "scripts of a data set are never run",
        )
    if len(files) > 1 and (
        not source.split or len({(file.parent, file.suffix) for file in files}) > 1
    ):
        raise SpecError(
            "holds several tables",
            where=where,
            why=f"found {', '.join(map(str, found[:5]))}",
            help='choose with `split = "…"` or `file = "…"`',
        )
    return [str(file) for file in files]


def _texts(cells: Mapping[str, Any], where: str) -> dict[str, str]:
    texts = {str(column): _text(cell) for column, cell in cells.items() if cell is not None}
    if not all(_encodable(text) for text in texts.values()):
        raise UnavailableError(
            "this row holds half a character", where=where,
            why="a surrogate alone stands for no character",
        )  # fmt: skip
    return texts


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)


# --- From rows to examples ------------------------------------------------------------------------


def _layout(data: Data, columns: list[str], name: str) -> Layout:
    """Where the table keeps its requests; columns that the block names have to be there."""
    known = next((layout for layout in LAYOUTS if set(layout.columns) <= set(columns)), None)
    found = f"columns: {', '.join(columns) or 'none'}"
    for option, named in (("prompt", data.prompt), ("answer", data.answer)):
        if named is not None and named not in columns:
            close = _close(named, columns)
            raise SpecError(
                f"has no column {named!r}",
                where=name,
                why=found,
                help=f"did you mean {close!r}?"
                if close
                else f'name the column with `{option} = "…"`',
            )
    if data.prompt is not None:
        return attrs.evolve(known or PLAIN, prompt=data.prompt, context=None)
    if known is None:
        looked_for = ", ".join(
            f"{', '.join(layout.columns)} ({layout.name})" for layout in LAYOUTS[1:]
        )
        raise SpecError(
            f"has no column {PLAIN.prompt!r} and is not a benchmark that is known by its columns",
            where=name,
            why=f"{found}; looked for {PLAIN.prompt}, or {looked_for}",
            help=f'name the column with `prompt = "{_close(PLAIN.prompt, columns) or "…"}"`',
        )
    return known


def _close(word: str, columns: list[str]) -> str | None:
    lower = {column.lower(): column for column in reversed(columns)}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return lower[close[0]] if close else None


def _ids(texts: list[dict[str, str]], layout: Layout) -> list[str]:
    for column in layout.ids:
        ids = [text.get(column, "") for text in texts]
        if all(ids) and len(set(ids)) == len(ids):
            return ids
    return [f"{number:04d}" for number in range(1, len(texts) + 1)]


def _example(id: str, text: dict[str, str], layout: Layout, answer: str | None) -> Example:
    prompt = text[layout.prompt]
    context = text.get(layout.context, "").strip() if layout.context else ""
    categories = (text[column] for column in layout.categories if text.get(column))
    return Example(
        id,
        f"{context}\n\n---\n\n{prompt}" if context else prompt,
        text,
        answer=text[answer] if answer is not None else None,
        category=next(categories, None),
    )
