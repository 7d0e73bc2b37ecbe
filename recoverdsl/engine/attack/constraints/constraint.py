"""The contract of a constraint: δ is moved onto it after every step of the search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

from torch import Tensor

from recoverdsl.engine.attack.meter import UNCOUNTED, Meter
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.errors import UnavailableError

C = TypeVar("C")
"""The schema's function that names a constraint; None for none."""


class Constraint(ABC, Generic[C]):
    """A constraint on δ besides its norm. L sites, Q columns."""

    corrects: ClassVar[bool] = False
    """Whether the state is moved back at every site with protected features, so that δ acts there
    too."""
    reads_unclamped: ClassVar[bool] = False
    """Whether it reads the defended states before the clamps act."""

    @classmethod
    @abstractmethod
    def build(cls, config: C, problem: AttackProblem) -> Constraint[C]:
        """Return the constraint of a problem.

        Raises:
            UnavailableError: it leaves δ no room, or the SAE has none of its kind.
        """

    @abstractmethod
    def admit(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        limit_B: Tensor,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        """Return a δ nearby that keeps the constraint, acts only where it may, and is within the
        limit."""

    def tangent(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        gradient_BLQD: Tensor,
        step: int,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        """Return the part of a gradient at δ that the constraint lets δ follow: all of it by default,
        where δ may act. Steps count from 0."""
        return problem.place(gradient_BLQD)


def require_room(bases: Iterable[Tensor]) -> None:
    """Raise if an orthonormal basis (d_model, R) of the directions taken from δ leaves it none.

    Raises:
        UnavailableError: δ could only be zero, and such an attack is no evidence about the clamp.
    """
    for basis_DR in bases:
        width, taken = basis_DR.shape
        if taken >= width:
            raise UnavailableError(
                f"a δ orthogonal to {taken} features has no room in {width} dimensions",
                help="protect fewer features, or leave `preserve` out",
            )
