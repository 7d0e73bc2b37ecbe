"""The cost of a search for each example of a batch: forward passes and gradients, counted as they
are spent.

An attack problem does not change; the counts, which do, are kept apart from it in a meter.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor


@frozen(eq=False)
class Meter:
    """Counts for each example of a whole batch, as some of its examples see them."""

    forward_passes_B: Tensor
    """Passes over the columns from the first perturbed one on, including those that stop below the
    model's top. For the whole batch, and shared with the meters of its parts."""
    gradients_B: Tensor
    """Backward passes, including products with a Jacobian. For the whole batch and shared, likewise."""
    members_B: Tensor
    """Which examples of the whole batch these are."""

    @classmethod
    def of(cls, count: int, device: torch.device) -> Meter:
        """Return a meter of a batch of `count` examples, with all counts 0."""
        members_B = torch.arange(count, device=device)
        return cls(torch.zeros_like(members_B), torch.zeros_like(members_B), members_B)

    def spend(
        self, *, forward_passes: int = 0, gradients: int = 0, where_B: Tensor | None = None
    ) -> None:
        """Count passes and gradients for each example, or for those where `where_B` is true."""
        members = self.members_B if where_B is None else self.members_B[where_B]
        self.forward_passes_B[members] += forward_passes
        self.gradients_B[members] += gradients

    def take(self, rows: Tensor) -> Meter:
        """Return the meter of some of the examples."""
        return Meter(self.forward_passes_B, self.gradients_B, self.members_B[rows])


class _Uncounted(Meter):
    """A meter that counts nothing."""

    def spend(
        self, *, forward_passes: int = 0, gradients: int = 0, where_B: Tensor | None = None
    ) -> None:
        pass

    def take(self, rows: Tensor) -> Meter:
        return self


UNCOUNTED: Meter = _Uncounted(torch.empty(0), torch.empty(0), torch.empty(0))
"""The meter of passes that are no part of a search, such as those for the record."""
