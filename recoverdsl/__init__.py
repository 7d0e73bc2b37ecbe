"""Tests whether a safety defense made of sparse-autoencoder features can be trusted."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recoverdsl.version import __version__

# Type checkers read the imports, `__getattr__` reads `_MODULES`; a test keeps the two and `__all__` equal.
if TYPE_CHECKING:
    from recoverdsl.api import Audit, AuditAt, load
    from recoverdsl.audit.records import Run, SweepRun
    from recoverdsl.compiler.graph import Graph, Node
    from recoverdsl.engine.steps.observer import Observer, State
    from recoverdsl.errors import (
        BugError,
        LockError,
        NotYetError,
        RecoverdslError,
        SpecError,
        StoppedError,
        UnavailableError,
        UsageError,
    )
    from recoverdsl.language.checker.points import Point
    from recoverdsl.language.diagnostics.diagnostic import Diagnostic, Edit
    from recoverdsl.language.schema.blocks import Spec
    from recoverdsl.language.syntax.nodes import Span
    from recoverdsl.measure.cautions import Caution
    from recoverdsl.measure.damage import Damage, Moved
    from recoverdsl.measure.expectation import ExpectationResult
    from recoverdsl.measure.intervals import Estimate
    from recoverdsl.measure.paired_difference import PairedDifference, SearchedHarder, Specificity
    from recoverdsl.measure.protected_features import ProtectedFeature, ProtectedFeatures
    from recoverdsl.measure.results import (
        AttackResult,
        BudgetResult,
        ClampedBehavior,
        ClampResult,
        ControlResult,
        Counts,
        Input,
        IntervalUsed,
        PartResult,
        Result,
        SpecIdentity,
        TargetBefore,
    )
    from recoverdsl.measure.strength import Sample
    from recoverdsl.measure.sweeps import PointResult, SweepResult
    from recoverdsl.measure.verdict import Flag
    from recoverdsl.pinning.differences import Difference
    from recoverdsl.pinning.lock import Lock, Pinned
    from recoverdsl.pinning.spec_with_lock import SpecWithLock
    from recoverdsl.report.markdown import to_markdown
    from recoverdsl.report.revealed import Revealed
    from recoverdsl.sources.fetcher import Fetcher
    from recoverdsl.store.steps import Store

_MODULES = {
    "AttackResult": "recoverdsl.measure.results",
    "Audit": "recoverdsl.api",
    "AuditAt": "recoverdsl.api",
    "BudgetResult": "recoverdsl.measure.results",
    "BugError": "recoverdsl.errors",
    "Caution": "recoverdsl.measure.cautions",
    "ClampResult": "recoverdsl.measure.results",
    "SearchedHarder": "recoverdsl.measure.paired_difference",
    "Sample": "recoverdsl.measure.strength",
    "ProtectedFeatures": "recoverdsl.measure.protected_features",
    "ProtectedFeature": "recoverdsl.measure.protected_features",
    "ClampedBehavior": "recoverdsl.measure.results",
    "ControlResult": "recoverdsl.measure.results",
    "Counts": "recoverdsl.measure.results",
    "Damage": "recoverdsl.measure.damage",
    "Diagnostic": "recoverdsl.language.diagnostics.diagnostic",
    "Difference": "recoverdsl.pinning.differences",
    "Edit": "recoverdsl.language.diagnostics.diagnostic",
    "Estimate": "recoverdsl.measure.intervals",
    "ExpectationResult": "recoverdsl.measure.expectation",
    "Fetcher": "recoverdsl.sources.fetcher",
    "Flag": "recoverdsl.measure.verdict",
    "Graph": "recoverdsl.compiler.graph",
    "Input": "recoverdsl.measure.results",
    "IntervalUsed": "recoverdsl.measure.results",
    "Lock": "recoverdsl.pinning.lock",
    "LockError": "recoverdsl.errors",
    "Moved": "recoverdsl.measure.damage",
    "Node": "recoverdsl.compiler.graph",
    "NotYetError": "recoverdsl.errors",
    "Observer": "recoverdsl.engine.steps.observer",
    "PartResult": "recoverdsl.measure.results",
    "PairedDifference": "recoverdsl.measure.paired_difference",
    "Pinned": "recoverdsl.pinning.lock",
    "Point": "recoverdsl.language.checker.points",
    "PointResult": "recoverdsl.measure.sweeps",
    "RecoverdslError": "recoverdsl.errors",
    "Result": "recoverdsl.measure.results",
    "Revealed": "recoverdsl.report.revealed",
    "Run": "recoverdsl.audit.records",
    "Span": "recoverdsl.language.syntax.nodes",
    "Spec": "recoverdsl.language.schema.blocks",
    "SpecError": "recoverdsl.errors",
    "Specificity": "recoverdsl.measure.paired_difference",
    "SpecIdentity": "recoverdsl.measure.results",
    "State": "recoverdsl.engine.steps.observer",
    "StoppedError": "recoverdsl.errors",
    "SpecWithLock": "recoverdsl.pinning.spec_with_lock",
    "Store": "recoverdsl.store.steps",
    "SweepResult": "recoverdsl.measure.sweeps",
    "SweepRun": "recoverdsl.audit.records",
    "TargetBefore": "recoverdsl.measure.results",
    "UnavailableError": "recoverdsl.errors",
    "UsageError": "recoverdsl.errors",
    "load": "recoverdsl.api",
    "to_markdown": "recoverdsl.report.markdown",
}
"""Public name to the module that defines it."""

__all__ = [
    "AttackResult",
    "Audit",
    "AuditAt",
    "BudgetResult",
    "BugError",
    "Caution",
    "ClampResult",
    "ClampedBehavior",
    "ControlResult",
    "Counts",
    "Damage",
    "Diagnostic",
    "Difference",
    "Edit",
    "Estimate",
    "ExpectationResult",
    "Fetcher",
    "Flag",
    "Graph",
    "Input",
    "IntervalUsed",
    "Lock",
    "LockError",
    "Moved",
    "Node",
    "NotYetError",
    "Observer",
    "PairedDifference",
    "PartResult",
    "Pinned",
    "Point",
    "PointResult",
    "ProtectedFeature",
    "ProtectedFeatures",
    "RecoverdslError",
    "Result",
    "Revealed",
    "Run",
    "Sample",
    "SearchedHarder",
    "Span",
    "Spec",
    "SpecError",
    "SpecIdentity",
    "SpecWithLock",
    "Specificity",
    "State",
    "StoppedError",
    "Store",
    "SweepResult",
    "SweepRun",
    "TargetBefore",
    "UnavailableError",
    "UsageError",
    "__version__",
    "load",
    "to_markdown",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import recoverdsl` loads nothing heavy."""
    if name not in _MODULES:
        raise AttributeError(f"module 'recoverdsl' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
