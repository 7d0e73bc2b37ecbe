"""Forward passes over a stretch of layers and a stretch of positions.

The optimization changes the residual stream from one boundary and one position on. Everything below
that boundary and before that position is constant, so it is computed once: its keys and values
become a `Prefix`, and every later pass runs only the layers above, at the later positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from attrs import Factory, field, frozen
from torch import Tensor

from recoverdsl.engine.model.families import Family
from recoverdsl.errors import UnavailableError

Edit = Callable[[Tensor], Tensor]
"""Maps the residual stream (B, Q, d_model) at one boundary to the edited one."""


@frozen(eq=False)
class Tokens:
    """A batch of prompts, padded on the left so that their last tokens share a column, and of what
    follows them, padded on the right.

    `mask_BT` is true at real tokens. `positions_BT` counts them from 0, which makes a padded row
    equal to the same tokens alone. The first `prompt` columns are the prompts'.
    """

    ids_BT: Tensor
    mask_BT: Tensor
    prompt: int = field()

    @prompt.default
    def _all(self) -> int:
        return int(self.ids_BT.shape[1])

    @property
    def positions_BT(self) -> Tensor:
        """The position of each token in its own text; 0 at padding on the left."""
        return (self.mask_BT.cumsum(1) - 1).clamp(min=0)

    def __len__(self) -> int:
        return len(self.ids_BT)

    def take(self, rows: Tensor) -> Tokens:
        """Return some rows of the batch."""
        return Tokens(self.ids_BT[rows], self.mask_BT[rows], self.prompt)

    def until(self, column: int) -> Tokens:
        """Return the columns before `column`."""
        return Tokens(self.ids_BT[:, :column], self.mask_BT[:, :column], min(self.prompt, column))

    def followed_by(self, ids_BN: Tensor, mask_BN: Tensor) -> Tokens:
        """Return the batch with more columns after it, (B, N)."""
        return Tokens(
            torch.cat([self.ids_BT, ids_BN], dim=1),
            torch.cat([self.mask_BT, mask_BN], dim=1),
            self.prompt,
        )

    @classmethod
    def pad(cls, ids: list[list[int]], device: torch.device) -> Tokens:
        """Return prompts of different lengths as one batch."""
        width = max(map(len, ids))
        return cls(
            torch.tensor([[0] * (width - len(row)) + row for row in ids], device=device),
            torch.tensor(
                [[False] * (width - len(row)) + [True] * len(row) for row in ids], device=device
            ),
        )

    @classmethod
    def in_parts(
        cls, before: list[list[int]], after: list[list[int]], device: torch.device
    ) -> Tokens:
        """Return texts in two parts as one batch: prompts, and what follows each."""
        width = max(map(len, after))
        ids_BN = torch.tensor(
            [row + [0] * (width - len(row)) for row in after], dtype=torch.long, device=device
        )
        lengths_B1 = torch.tensor([[len(row)] for row in after], device=device)
        mask_BN = torch.arange(width, device=device) < lengths_B1
        return cls.pad(before, device).followed_by(ids_BN, mask_BN)


@frozen(eq=False)
class Prefix:
    """Keys and values of the columns before a suffix, by layer: (B, heads, columns, d_head) each."""

    keys: Mapping[int, Tensor]
    values: Mapping[int, Tensor]

    def update(
        self, key_BHQd: Tensor, value_BHQd: Tensor, layer: int, *_: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the prefix's keys and values followed by the suffix's; the prefix itself is not
        changed."""
        if layer not in self.keys:
            return key_BHQd, value_BHQd
        return (
            torch.cat([self.keys[layer], key_BHQd], dim=2),
            torch.cat([self.values[layer], value_BHQd], dim=2),
        )

    def take(self, rows: Tensor) -> Prefix:
        """Return the prefixes of some rows of the batch."""
        return Prefix(
            {layer: key[rows] for layer, key in self.keys.items()},
            {layer: value[rows] for layer, value in self.values.items()},
        )


@frozen(eq=False)
class Recorder:
    """A cache that keeps the keys and values of the first `columns` columns that pass through it."""

    columns: int
    keys: dict[int, Tensor] = Factory(dict)
    values: dict[int, Tensor] = Factory(dict)

    def update(
        self, key_BHQd: Tensor, value_BHQd: Tensor, layer: int, *_: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep the first columns' keys and values, and return all of them unchanged."""
        self.keys[layer] = key_BHQd[:, :, : self.columns].clone()
        self.values[layer] = value_BHQd[:, :, : self.columns].clone()
        return key_BHQd, value_BHQd


@frozen(eq=False)
class GrowingCache:
    """Keys and values of all columns so far; each call appends its own.

    Args:
        capacity: the most columns there will be; memory for them is allocated once.
    """

    capacity: int
    keys: dict[int, Tensor] = Factory(dict)
    values: dict[int, Tensor] = Factory(dict)
    columns: dict[int, int] = Factory(dict)

    def update(
        self, key_BHQd: Tensor, value_BHQd: Tensor, layer: int, *_: Any
    ) -> tuple[Tensor, Tensor]:
        """Append a call's keys and values, and return those of all columns so far."""
        start = self.columns.get(layer, 0)
        stop = start + int(key_BHQd.shape[2])
        self.columns[layer] = stop
        together = []
        for kept, new_BHQd in ((self.keys, key_BHQd), (self.values, value_BHQd)):
            if layer not in kept:
                room = (*new_BHQd.shape[:2], self.capacity, new_BHQd.shape[3])
                kept[layer] = new_BHQd.new_empty(room)
            kept[layer][:, :, start:stop] = new_BHQd
            together.append(kept[layer][:, :, :stop])
        return together[0], together[1]

    def keep(self, rows: Tensor) -> None:
        """Keep these rows of the batch only; one row may be taken several times."""
        for layer in self.keys:
            self.keys[layer] = self.keys[layer][rows]
            self.values[layer] = self.values[layer][rows]


NO_PREFIX = Prefix({}, {})


def attention_mask(mask_BT: Tensor, first: int = 0) -> Tensor:
    """Return the causal mask (B, 1, Q, T) of the columns from `first` on, true where attention is
    allowed.

    A padded row sees itself, since a softmax over nothing is not a number.
    """
    width = mask_BT.shape[1]
    columns_T = torch.arange(width, device=mask_BT.device)
    rows_Q1 = columns_T[first:, None]
    allowed_BQT = ((columns_T <= rows_Q1) & mask_BT[:, None, :]) | (columns_T == rows_Q1)
    return allowed_BQT[:, None]


def run_layers(
    family: Family,
    h_BQD: Tensor,
    tokens: Tokens,
    *,
    start: int,
    stop: int,
    first: int = 0,
    cache: Prefix | Recorder | GrowingCache = NO_PREFIX,
    edits: Mapping[int, Edit] | None = None,
) -> Tensor:
    """Run decoder layers `start` to `stop` − 1 on the columns from `first` on.

    Args:
        h_BQD: residual stream at boundary `start`, columns `first` and later.
        tokens: the whole batch, for masks and positions.
        cache: the earlier columns (a `Prefix`), or a `Recorder` or `GrowingCache` that collects them.
        edits: edits of the residual stream by boundary, `start` to `stop` inclusive.

    Returns:
        The residual stream at boundary `stop`, after its edit, (B, Q, d_model).

    Raises:
        UnavailableError: a text is longer than the model reads.
    """
    edits = edits or {}
    _refuse_long(family, tokens)
    mask_B1QK = attention_mask(tokens.mask_BT, first)
    if family.additive_masks:
        mask_B1QK = torch.where(mask_B1QK, 0.0, -torch.inf).to(family.dtype)
    positional = family.positional(h_BQD, tokens.positions_BT[:, first:])
    for layer in range(start, stop):
        if layer in edits:
            h_BQD = edits[layer](h_BQD)
        h_BQD = family.layer(layer, h_BQD, mask_B1QK, cache, positional)
    return edits[stop](h_BQD) if stop in edits else h_BQD


def _refuse_long(family: Family, tokens: Tokens) -> None:
    if tokens.ids_BT.shape[1] <= family.max_positions:
        return
    longest = int(tokens.mask_BT.sum(1).max())
    if longest > family.max_positions:
        raise UnavailableError(
            f"a prompt and what follows it have {longest} tokens, and the model reads {family.max_positions}",
            help="take shorter prompts, answers or suffixes",
        )


def embed(family: Family, tokens: Tokens) -> Tensor:
    """Return the residual stream at boundary 0, (B, T, d_model)."""
    return family.embed(tokens.ids_BT, tokens.positions_BT)
