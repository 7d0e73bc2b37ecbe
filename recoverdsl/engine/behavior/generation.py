"""Greedy decoding of a batch, with a cache, under clamps and δ."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.families import Family
from recoverdsl.engine.model.forward import GrowingCache, Tokens, embed, run_layers


@frozen(eq=False)
class Answers:
    """Generated tokens (B, N), padded on the right.

    `length_B` counts them without the token that ends a text; `ended_B` is true where one was
    chosen, and it then follows them. Elsewhere the text was cut at N tokens. `broken_B` is true
    where a logit was not a finite number.
    """

    ids_BN: Tensor
    length_B: Tensor
    ended_B: Tensor
    broken_B: Tensor

    @property
    def mask_BN(self) -> Tensor:
        """True at the tokens of each text."""
        columns_N = torch.arange(self.ids_BN.shape[1], device=self.ids_BN.device)
        return columns_N < self.length_B[:, None]

    def take(self, rows: Tensor) -> Answers:
        """Return some of the texts."""
        return Answers(
            self.ids_BN[rows], self.length_B[rows], self.ended_B[rows], self.broken_B[rows]
        )

    def lists(self) -> list[list[int]]:
        """Return the token ids of each text."""
        return [
            row[:length]
            for row, length in zip(self.ids_BN.tolist(), self.length_B.tolist(), strict=True)
        ]

    def first(self, count: int | None) -> Answers:
        """Return no more than the first `count` tokens of each text; all of them if None."""
        if count is None:
            return self
        return Answers(
            self.ids_BN[:, :count], self.length_B.clamp(max=count),
            self.ended_B & (self.length_B < count), self.broken_B,
        )  # fmt: skip


@torch.no_grad()
def generate(
    family: Family,
    prompts: Tokens,
    intervention: Intervention,
    *,
    tokens: int,
    end_ids: frozenset[int],
) -> Answers:
    """Decode greedily: return the most likely token each time, at most `tokens` of them.

    A text that has ended leaves the batch.

    Args:
        tokens: the largest number of tokens to generate.
        end_ids: ids of tokens that end a text.
    """
    device = family.device
    ids_BN = torch.zeros(len(prompts), tokens, dtype=torch.long, device=device)
    length_B = torch.full((len(prompts),), tokens, device=device)
    ended_B, broken_B = torch.zeros(2, len(prompts), dtype=torch.bool, device=device)
    end_E = torch.tensor(sorted(end_ids), dtype=torch.long, device=device)
    rows = torch.arange(len(prompts), device=device)
    so_far, first = _shared_beginning(prompts, intervention)
    cache = GrowingCache(so_far.ids_BT.shape[1] + tokens)
    if first:
        _cache_beginning(family, so_far, first, intervention, cache)
    for step in range(tokens):
        columns = slice(first, None)
        h_BQD = run_layers(
            family, family.embed(so_far.ids_BT[:, columns], so_far.positions_BT[:, columns]), so_far,
            start=0, stop=family.n_layers, first=first, cache=cache,
            edits=intervention.edits(so_far, first),
        )  # fmt: skip
        most_B, next_B = family.logits(h_BQD[:, -1]).max(1)
        broken_B[rows] |= ~most_B.isfinite()
        ends_B = torch.isin(next_B, end_E)
        length_B[rows[ends_B]] = step
        ended_B[rows[ends_B]] = True
        ids_BN[rows, step] = next_B
        going = (~ends_B).nonzero().squeeze(1)
        if not len(going) or step == tokens - 1:
            break
        if len(going) < len(rows):
            rows, so_far, next_B = rows[going], so_far.take(going), next_B[going]
            intervention = intervention.take(going)
            cache.keep(going)
        so_far = so_far.followed_by(next_B[:, None], torch.ones_like(next_B[:, None]).bool())
        first = so_far.ids_BT.shape[1] - 1
    return Answers(ids_BN, length_B, ended_B, broken_B)


def _shared_beginning(prompts: Tokens, intervention: Intervention) -> tuple[Tokens, int]:
    """Return the prompts with their shared beginning in the first columns, and how many columns it has.

    A chat template begins every request alike. Padding then lies between the beginning and the rest.
    """
    lengths_B, width = prompts.mask_BT.sum(1), prompts.prompt
    # Something is left of every prompt, and all that δ may act on.
    most = int(lengths_B.min()) - max(1, intervention.reach)
    if most < 1 or len(prompts) == 1:
        return prompts, 0
    columns_T = torch.arange(width, device=lengths_B.device)
    starts_B1 = (width - lengths_B)[:, None]
    begin_BP = prompts.ids_BT.gather(1, starts_B1 + columns_T[:most])
    alike_P = (begin_BP == begin_BP[:1]).all(0)
    shared = int(alike_P.long().cumprod(0).sum())
    from_BT = torch.where(columns_T < shared, starts_B1 + columns_T, columns_T)
    mask_BT = (columns_T < shared) | (columns_T >= starts_B1 + shared)
    # With the beginning moved up, columns between may be empty in every row.
    kept_T = mask_BT.any(0).nonzero().squeeze(1)
    return Tokens(prompts.ids_BT.gather(1, from_BT)[:, kept_T], mask_BT[:, kept_T]), shared


def _cache_beginning(
    family: Family, prompts: Tokens, columns: int, intervention: Intervention, cache: GrowingCache
) -> None:
    """Fill the cache with the shared beginning of all prompts, computed once."""
    row = torch.zeros(1, dtype=torch.long, device=family.device)
    one = prompts.take(row)
    begin = one.until(columns)
    run_layers(
        family, embed(family, begin), begin, start=0, stop=family.n_layers, cache=cache,
        edits=intervention.take(row).edits(one, stop=columns),
    )  # fmt: skip
    cache.keep(row.expand(len(prompts)))
