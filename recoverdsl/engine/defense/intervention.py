"""Interventions on the residual stream while a model runs: clamps, and δ after them.

Positions are absolute: the same vector meets the same token whether the model reads the whole text
at once or one token at a time over a cache.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from recoverdsl.engine.defense.clamp import Clamp
from recoverdsl.engine.model.forward import Edit, Tokens
from recoverdsl.engine.model.positions import position_mask
from recoverdsl.language.schema import Positions


@frozen(eq=False)
class Delta:
    """A perturbation of the residual stream, (B, L, P, d_model), float32.

    Args:
        sites: the L boundaries that it is added at, ascending.
        before: how many of its P columns belong to the prompt; the last of these is the prompt's
            last token, and the columns after it are the tokens after the prompt.
    """

    sites: tuple[int, ...]
    delta_BLPD: Tensor
    before: int

    def at(self, site: int, tokens: Tokens, first: int) -> Tensor | None:
        """Return δ at one boundary for the columns of `tokens` from `first` on, (B, Q, d_model); None if
        there is none."""
        if site not in self.sites:
            return None
        delta_BPD = self.delta_BLPD[:, self.sites.index(site)]
        start = tokens.prompt - self.before
        low, high = max(first, start), min(tokens.ids_BT.shape[1], start + delta_BPD.shape[1])
        if low >= high:
            return None
        return torch.nn.functional.pad(
            delta_BPD[:, low - start : high - start],
            (0, 0, low - first, tokens.ids_BT.shape[1] - high),
        )

    def take(self, rows: Tensor) -> Delta:
        """Return the δ of some rows of the batch."""
        return evolve(self, delta_BLPD=self.delta_BLPD[rows])


@frozen(eq=False)
class SoftTokens:
    """Embeddings in place of those of some tokens of the prompt, (B, N, d_model), float32.

    Each is a whole state of boundary 0, with what a family adds for the position.

    Args:
        after_B: how many of the prompt's tokens come after them.
    """

    states_BND: Tensor
    after_B: Tensor

    def put(self, h_BQD: Tensor, tokens: Tokens, first: int) -> Tensor:
        """Return boundary 0 for the columns of `tokens` from `first` on, with these tokens in place."""
        count = self.states_BND.shape[1]
        columns_Q = torch.arange(first, first + h_BQD.shape[1], device=h_BQD.device)
        which_BQ = columns_Q - (tokens.prompt - self.after_B - count)[:, None]
        inside_BQ = (which_BQ >= 0) & (which_BQ < count)
        index_BQD = which_BQ.clamp(0, count - 1)[..., None].expand_as(h_BQD)
        return torch.where(
            inside_BQ[..., None], self.states_BND.gather(1, index_BQD), h_BQD.float()
        )

    def take(self, rows: Tensor) -> SoftTokens:
        """Return the tokens of some rows of the batch."""
        return SoftTokens(self.states_BND[rows], self.after_B[rows])


@frozen(eq=False)
class Intervention:
    """The clamps of a defense, by boundary, and a δ that is added after them.

    At one site the clamp acts first and δ is added to the clamped state; clamps at later sites see
    δ's effect. Without clamps it is the undefended model. Soft tokens are in place before any clamp.
    """

    clamps: Mapping[int, Clamp] = field(factory=dict)
    at: Positions = field(default=Positions(("every_token", "generated")))
    delta: Delta | None = None
    soft: SoftTokens | None = None

    def edits(
        self,
        tokens: Tokens,
        first: int = 0,
        stop: int | None = None,
        *,
        watch: Mapping[int, list[Tensor]] | None = None,
    ) -> dict[int, Edit]:
        """Return the edits for the columns from `first` on, as `run_layers` takes them.

        Args:
            stop: the column before which they end; if not given, at the last.
            watch: boundaries to lists that receive the residual stream there, float32, after clamp
                and δ.
        """
        where_BQ = position_mask(self.at, tokens)[:, first:stop]
        sites = {*self.clamps, *(self.delta.sites if self.delta else ()), *(watch or ())}
        if self.soft is not None:
            sites.add(0)

        def edit(site: int) -> Edit:
            clamp = self.clamps.get(site)
            delta_BQD = self.delta.at(site, tokens, first) if self.delta else None
            if delta_BQD is not None and stop is not None:
                delta_BQD = delta_BQD[:, : stop - first]

            def act(h_BQD: Tensor) -> Tensor:
                dtype = h_BQD.dtype
                if self.soft is not None and site == 0:
                    h_BQD = self.soft.put(h_BQD, tokens, first)
                h32_BQD = h_BQD.float() if clamp is None else clamp(h_BQD, where_BQ)
                if delta_BQD is not None:
                    h32_BQD = h32_BQD + delta_BQD
                if watch and site in watch:
                    watch[site].append(h32_BQD)
                return h32_BQD.to(dtype)

            return act

        return {site: edit(site) for site in sites}

    @property
    def reach(self) -> int:
        """How many of a prompt's last columns δ or soft tokens may act on."""
        reach = self.delta.before if self.delta else 0
        if self.soft is not None:
            reach = max(reach, int(self.soft.after_B.max()) + self.soft.states_BND.shape[1])
        return reach

    def with_delta(self, delta: Delta | None) -> Intervention:
        """Return the same clamps with another δ, or with none."""
        return evolve(self, delta=delta)

    def take(self, rows: Tensor) -> Intervention:
        """Return the intervention on some rows of the batch."""
        if self.delta is None and self.soft is None:
            return self
        return evolve(
            self,
            delta=self.delta.take(rows) if self.delta else None,
            soft=self.soft.take(rows) if self.soft else None,
        )
