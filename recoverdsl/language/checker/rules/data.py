"""Rules of data blocks: the rows that they take are there, and a rest is of the same rows."""

from __future__ import annotations

from recoverdsl.language import schema
from recoverdsl.language.checker.rules.meaning import Meaning


def check_data(meaning: Meaning, name: str, data: schema.Data) -> None:
    """Report rows that a template does not have, and a rest of a split that is none of this block's."""
    path = f"data.{name}"
    source = data.source
    if isinstance(source, schema.Template) and data.rows and data.rows.last >= source.prompts:
        meaning.add(
            "REC302",
            f"there is no row {data.rows.last}: the template is drawn {source.prompts} times, and rows count from 0",
            f"{path}.rows",
            help=f"draw more with `prompts`, or end at {source.prompts - 1}",
        )
    if data.split is None and f"{path}.seed" in meaning.spec.spans:
        meaning.lacks(
            "REC411", "`seed` is for a split, and nothing is drawn here", f"{path}.seed", path,
            help="remove `seed`, or add `split = 50%`; a template has a seed of its own",
        )  # fmt: skip
    if isinstance(data.split, schema.RestOf):
        _rest(meaning, path, data, data.split.of)


def _rest(meaning: Meaning, path: str, data: schema.Data, of: str) -> None:
    whole = meaning.spec.data.get(of)
    if whole is None or f"data.{of}" in meaning.partial:
        return
    here = (f"data.{of}", f"`{of}` is defined here")
    if not isinstance(whole.split, float):
        meaning.add(
            "REC431", f"the `split` of `{of}` is no share of its rows, so none are left over", f"{path}.split",
            help="name a data block with a share, such as `split = 50%`",
            related=here,
        )  # fmt: skip
        return
    other = next((key for key in ("source", "rows", "seed") if getattr(data, key) != getattr(whole, key)), None)  # fmt: skip
    if other:
        word = "from" if other == "source" else other
        meaning.lacks(
            "REC431", f"this block has another `{word}` than `{of}`, so a rest of that is not of these rows",
            f"{path}.split", path,
            why="only rows of one source, divided once, are known to be apart",
            help=f"write `data NAME like {of} {{ split = rest_of({of}) }}`", related=here,
        )  # fmt: skip
