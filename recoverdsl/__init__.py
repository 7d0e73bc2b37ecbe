"""Tests whether a safety defense made of sparse-autoencoder features can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recoverdsl.version import __version__

if TYPE_CHECKING:
    from recoverdsl.api import Audit, Run, load

__all__ = ["Audit", "Run", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Late, so that importing a single module does not import the whole tool.
    if name in ("Audit", "Run", "load"):
        from recoverdsl import api

        return getattr(api, name)
    raise AttributeError(f"module 'recoverdsl' has no attribute {name!r}")
