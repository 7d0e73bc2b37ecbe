"""The examples of a `data` block. Tables are read as text and numbers; nothing in them is run."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

import attrs

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import Data
from recoverdsl.language.schema.parts import part_of
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.registry import source_of
from recoverdsl.sources.tables import MOST_ROWS

LARGEST_TEXT = 1 << 28
"""The most text that is held, in characters over all rows."""


@attrs.frozen
class Example:
    """One row.

    Args:
        id: the cell of the `id` column, if all are different; else the number of the row in its source,
            from `0001`.
        prompt: the text of the prompt column; in HarmBench, preceded by the document that it is about.
        fields: every column of the row, as text; empty cells are left out.
        answer: the text of the answer column, if the block names one.
        category: the cell of the `category` column, or of the benchmark's own.
    """

    id: str
    prompt: str
    fields: Mapping[str, str]
    answer: str | None = None
    category: str | None = None


@attrs.frozen
class Layout:
    """The columns of a table from which an example is made.

    Args:
        name: the name of the layout in messages.
        prompt: the column of the request.
        columns: a table that has all of these is in this layout; it may have others too.
        ids: candidate columns for an id; the first whose cells are all different is used.
        categories: candidate columns for the category of the request; the first that exists is used.
        context: the column of a document that the request is about, which is put before the request.
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
"""Tables whose columns are known, so that a copy of a benchmark needs no `prompt = …`.

The first match is used, so a column `prompt` comes before every benchmark's.
"""


def load_examples(data: Data, fetcher: Fetcher, whole: Data | None = None) -> list[Example]:
    """Return the examples of a data block, in the order of the table.

    Args:
        whole: the block whose split it takes the rest of, if it does.

    Raises:
        SpecError: a column that the block names is not there, or no row is left by its split.
        UnavailableError: the source has fewer rows than the block names, or a row cannot be used.
    """
    part = part_of(data, whole)
    tables = source_of(data).tables(fetcher, part.most)
    most = part.most or MOST_ROWS + 1
    layout: Layout | None = None
    texts: list[dict[str, str]] = []
    characters = read = 0
    for table in tables:
        name = table.name
        for line, cells in islice(table.rows, most - read):
            read += 1
            if read <= part.first:
                continue
            text = _texts(cells, f"{name}:{line}")
            layout = layout or _layout(data, list(cells), name)
            for column in (layout.prompt, data.answer):
                if column is not None and not text.get(column):
                    raise UnavailableError(f"this row has no {column!r}", where=f"{name}:{line}")
            texts.append(text)
            characters += sum(map(len, text.values()))
            if len(texts) > MOST_ROWS or characters > LARGEST_TEXT:
                raise UnavailableError(
                    "is too large to load",
                    where=name,
                    why=f"over {MOST_ROWS:,} rows or {LARGEST_TEXT:,} characters",
                    help="use the first rows only, with `limit`",
                )
    where = ", ".join(table.name for table in tables)
    if data.rows is not None and read < min(most, data.rows.last + 1):
        raise UnavailableError(
            f"expected rows {data.rows.first}..{data.rows.last}, found {read} rows", where=where,
            help=f"rows count from 0, so the last is {read - 1}" if read else None,
        )  # fmt: skip
    if layout is None:
        raise UnavailableError("holds no rows", where=where)
    taken = part.drawn(len(texts))[: data.limit]
    if not taken:
        raise SpecError(
            f"the split leaves none of {len(texts)} rows", where=where,
            help="take another share, or more rows",
        )  # fmt: skip
    texts = [texts[at] for at in taken]
    return [
        _example(id, text, layout, data.answer)
        for id, text in zip(
            _ids(texts, layout, [part.first + at for at in taken]), texts, strict=True
        )
    ]


def _texts(cells: Mapping[str, Any], where: str) -> dict[str, str]:
    texts = {str(column): _text(cell) for column, cell in cells.items() if cell is not None}
    if not all(_encodable(text) for text in texts.values()):
        raise UnavailableError(
            "this row holds an unpaired surrogate", where=where,
            why="it is half of a character, which no tokenizer can encode",
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
    """Return the layout of the table; the columns that the block names must exist."""
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
            f"has no column {PLAIN.prompt!r}, and its columns are not those of a known benchmark",
            where=name,
            why=f"{found}; expected {PLAIN.prompt}, or {looked_for}",
            help=f'name the column with `prompt = "{_close(PLAIN.prompt, columns) or "…"}"`',
        )
    return known


def _close(word: str, columns: list[str]) -> str | None:
    lower = {column.lower(): column for column in reversed(columns)}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return lower[close[0]] if close else None


def _ids(texts: list[dict[str, str]], layout: Layout, rows: list[int]) -> list[str]:
    """Return an id for each example, by its columns or by its row in the source, counted from 0."""
    for column in layout.ids:
        ids = [text.get(column, "") for text in texts]
        if all(ids) and len(set(ids)) == len(ids):
            return ids
    return [f"{row + 1:04d}" for row in rows]


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
