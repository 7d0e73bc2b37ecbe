"""Constraints: one file each, built from the schema's function that names it."""

from __future__ import annotations

from types import NoneType
from typing import Any

from recoverdsl.engine.attack.constraints.by_construction import ByConstruction
from recoverdsl.engine.attack.constraints.constraint import Constraint
from recoverdsl.engine.attack.constraints.free import Free
from recoverdsl.engine.attack.constraints.jacobian import Jacobian
from recoverdsl.engine.attack.constraints.jacobian_sketch import JacobianSketch
from recoverdsl.engine.attack.constraints.orthogonal import Orthogonal
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.errors import UnavailableError
from recoverdsl.language import schema

__all__ = ["CONSTRAINTS", "Constraint", "constraint_of", "kind_of"]

CONSTRAINTS: dict[type, type[Constraint[Any]]] = {
    NoneType: Free,
    schema.Orthogonal: Orthogonal,
    schema.Jacobian: Jacobian,
    schema.JacobianSketch: JacobianSketch,
    schema.ByConstruction: ByConstruction,
}


def kind_of(preserve: schema.Preserve | None) -> type[Constraint[Any]]:
    """Return the class of the constraint that a step names."""
    return CONSTRAINTS[type(preserve)]


def constraint_of(preserve: schema.Preserve | None, problem: AttackProblem) -> Constraint[Any]:
    """Return the constraint on a step's δ.

    Raises:
        UnavailableError: the constraint leaves δ no room, or the SAE has none of its kind.
    """
    if preserve is not None and not problem.features:
        raise UnavailableError(
            "δ cannot reach the clamped features from where it acts",
            why="every clamped feature is read at a lower layer",
            help="leave `preserve` out, or perturb at or below the clamped layers",
        )
    return kind_of(preserve).build(preserve, problem)
