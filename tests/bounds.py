"""How far two computations of one number may lie apart: as far as rounding carries them, no further.

Each of n additions and multiplications rounds by at most u = eps/2 of what it makes, so that two
computations of a number of a size, in whatever order, lie at most n·eps·size apart (Higham, Accuracy
and Stability of Numerical Algorithms, chapter 4). Roundings do not all go one way. Where they are
independent, and even within their bounds, the standard deviation of the difference is 0.41·√n·eps·size:
five of them are 2·√n·eps·size, which is asked for here where it is the lesser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

LAYERS, WIDTH, INNER = 4, 24, 40
"""Of each of `tests.models`: layers, width of the residual stream, width inside the MLP."""
ENCODE = WIDTH + 1
"""Terms of a feature of a small SAE: a product for each dimension, and the bias."""
FEATURES = 64
"""Terms of a dimension that a small SAE decodes."""
PASS = LAYERS * (4 * WIDTH + INNER) + 2 * WIDTH
"""Terms on the longest way from the embeddings to the logits of a small model: in each layer, queries
or keys, scores, values, the way back, and the MLP; behind them the final norm and the unembedding."""
GRADIENT = 2 * PASS
"""Terms on the way there and back."""


def rounding(terms: int, size: float, dtype: torch.dtype = torch.float32) -> float:
    """Return how far apart two computations of a number may be.

    Args:
        terms: additions and multiplications on the longest way from the inputs to the number.
        size: the largest value on that way; of a sum in which much cancels, that of its terms.
        dtype: what is computed in.
    """
    return min(terms, 2 * math.sqrt(terms)) * torch.finfo(dtype).eps * size


def near(
    expected: float | Sequence[float],
    terms: int,
    size: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """Return what equals these numbers up to `rounding`; their largest is the size if none is given."""
    if size is None:
        size = max(map(abs, expected)) if isinstance(expected, Sequence) else abs(expected)
    return pytest.approx(expected, abs=rounding(terms, size, dtype), rel=0, nan_ok=True)


def assert_near(found: Tensor, expected: Tensor, terms: int, size: float | None = None) -> None:
    """Compare tensors up to `rounding` in float32, whatever type carries them; see `near`.

    What is no floating-point number has to be equal.
    """
    if size is None:
        finite = expected.detach()[expected.isfinite()].double().abs()
        size = float(finite.max()) if finite.numel() else 0.0
    torch.testing.assert_close(
        found,
        expected,
        atol=rounding(terms, size) if expected.is_floating_point() else 0,
        rtol=0,
        equal_nan=True,
        check_dtype=False,
    )
