"""The rows of their sources that data blocks take, as far as the spec alone tells."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from attrs import frozen

from recoverdsl.language.schema.blocks import Data, Spec
from recoverdsl.language.schema.functions import Attribution, Contrast, RestOf, Template, Top
from recoverdsl.language.schema.tested import tested_data


@frozen
class Part:
    """The rows of a source that a data block takes: a range of them, of these a share, of it the first.

    Rows count from 0.
    """

    first: int = 0
    last: int | None = None
    """The last row of the range; None for the source's last."""
    share: float | None = None
    """The share that is drawn, in (0, 1); None for all."""
    seed: int = 0
    rest: bool = False
    """Whether it is those that are left over by the draw."""
    limit: int | None = None
    """How many of these at most; None for all."""

    @property
    def most(self) -> int | None:
        """How many rows of the source are needed; None for all."""
        if self.share is not None or self.limit is None:
            return None if self.last is None else self.last + 1
        ends = [self.first + self.limit, *([] if self.last is None else [self.last + 1])]
        return min(ends)

    def drawn(self, count: int) -> list[int]:
        """Return which of the `count` rows of the range it takes, ascending, before the limit.

        The rows are ranked by a hash of the seed and their number, so that the draw is the same on every
        machine, and a larger share holds a smaller one.
        """
        if self.share is None:
            return list(range(count))

        def rank(row: int) -> bytes:
            return hashlib.sha256(f"{self.seed}:{row}".encode()).digest()

        taken = set(sorted(range(count), key=rank)[: round(self.share * count)])
        return [row for row in range(count) if (row in taken) != self.rest]


def part_of(data: Data, whole: Data | None = None) -> Part:
    """Return the rows that a data block takes.

    Args:
        whole: the block whose split it takes the rest of, if it does.
    """
    split = data.split
    if isinstance(split, RestOf):
        split = whole.split if whole is not None and isinstance(whole.split, float) else None
    return Part(
        first=data.rows.first if data.rows else 0,
        last=data.rows.last if data.rows else None,
        share=split,
        seed=data.seed if split is not None else 0,
        rest=isinstance(data.split, RestOf),
        limit=data.limit,
    )


def part_named(data: Mapping[str, Data], name: str) -> Part:
    """Return the rows that a data block of a spec takes, by its name."""
    block = data[name]
    return part_of(block, data.get(block.split.of) if isinstance(block.split, RestOf) else None)


def share_rows(data: Mapping[str, Data], one: str, other: str) -> bool:
    """Tell whether two blocks are known to share rows: they are of one source, and not of parts apart."""
    if one == other:
        return True
    if _rows_of(data[one]) != _rows_of(data[other]):
        return False
    a, b = part_named(data, one), part_named(data, other)
    a_end, b_end = _end(data[one], a), _end(data[other], b)
    apart = (a_end is not None and a_end <= b.first) or (b_end is not None and b_end <= a.first)
    same_draw = (a.first, a.last, a.share, a.seed) == (b.first, b.last, b.share, b.seed)
    return not apart and not (same_draw and a.share is not None and a.rest != b.rest)


def _end(data: Data, part: Part) -> int | None:
    """Return the row before which a block's rows end; None if that is not known."""
    # A limit is the end of a range where nothing is drawn.
    end = part.most if part.share is None else None if part.last is None else part.last + 1
    if end is None and isinstance(data.source, Template):
        return data.source.prompts
    return end


def _rows_of(data: Data) -> object:
    """Return what the rows of a block's source are decided by."""
    source = data.source
    # More prompts with the same seed begin with those of fewer.
    return (source.name, source.seed) if isinstance(source, Template) else source


def ranked_over(spec: Spec, name: str) -> tuple[str, ...]:
    """Return the data blocks by whose prompts a `protect` block ranks its features, as far as the spec
    tells."""
    select = spec.protects[name].select
    by = select.by if isinstance(select, Top) else None
    named: list[str] = []
    if isinstance(by, Attribution):
        over = by.over or tested_data(spec)
        named = [over] if over else []
    elif isinstance(by, Contrast):
        # Of a behavior, the answers to the tested prompts.
        against = tested_data(spec) if by.against in spec.behaviors else by.against
        named = [by.texts, *([against] if against else [])]
    return tuple(dict.fromkeys(name for name in named if name in spec.data))
