"""δ orthogonal to the encoder columns of the protected features."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.attack.constraints.constraint import Constraint, require_room
from recoverdsl.engine.attack.geometry import into_ball, orthogonal_part, span
from recoverdsl.engine.attack.meter import UNCOUNTED, Meter
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.errors import UnavailableError
from recoverdsl.language import schema


@frozen(eq=False)
class Orthogonal(Constraint[schema.Orthogonal]):
    """C1, encoder orthogonality: A_Sᵀδ = 0 at each site and perturbed position.

    `bases` holds, for each site, an orthonormal basis (d_model, R) of the span of A_S, or None where
    the site has no protected features. δ itself is projected, not its gradient: an optimizer that
    rescales the gradient per coordinate leaves the null space at once.
    """

    bases: tuple[Tensor | None, ...]

    @classmethod
    def build(cls, config: schema.Orthogonal, problem: AttackProblem) -> Orthogonal:
        kept = cls.to(
            *(problem.features[site].W_enc_DS if site in problem.features else None for site in problem.sites)
        )  # fmt: skip
        if None in kept.bases:
            raise UnavailableError(
                "`orthogonal` binds nothing at a site of δ without clamped features",
                why="none of the selected features is of the SAE that reads it",
                help="take preserve = by_construction(…), or perturb at the clamped sites only",
            )
        require_room([basis for basis in kept.bases if basis is not None])
        return kept

    @classmethod
    def to(cls, *A_DS: Tensor | None) -> Orthogonal:
        """Return the constraint for the encoder columns (d_model, S) at each site; None at one
        without any."""
        return cls(tuple(None if A is None else span(A) for A in A_DS))

    def __call__(self, delta_BLQD: Tensor) -> Tensor:
        """Return δ without its component in the span of each site's encoder columns."""
        return torch.stack(
            [
                delta if basis is None else orthogonal_part(delta, basis)
                for delta, basis in zip(delta_BLQD.unbind(1), self.bases, strict=True)
            ],
            dim=1,
        )

    def admit(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        limit_B: Tensor,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        return into_ball(self(problem.place(delta_BLQD)), limit_B)

    def tangent(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        gradient_BLQD: Tensor,
        step: int,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        return self(problem.place(gradient_BLQD))
