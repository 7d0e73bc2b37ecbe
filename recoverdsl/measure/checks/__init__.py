"""Checks of the attacks, by which a weak one is told from a clamp that holds."""

from recoverdsl.measure.checks import behaviors, searches, table
from recoverdsl.measure.checks.registry import CHECKS, Check, Evidence, Finding, flags

__all__ = ["CHECKS", "Check", "Evidence", "Finding", "behaviors", "flags", "searches", "table"]
