"""The records of `result.json`, and how they are written and read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

from attrs import field, frozen
from cattrs import BaseValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from recoverdsl.errors import UsageError
from recoverdsl.measure.cautions import Caution
from recoverdsl.measure.damage import Damage
from recoverdsl.measure.expectation import ExpectationResult
from recoverdsl.measure.former_results import FORMER, from_former
from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.paired_difference import Specificity
from recoverdsl.measure.protected_features import ProtectedFeatures
from recoverdsl.measure.strength import Sample
from recoverdsl.measure.verdict import Flag, Verdict, verdict_of

SCHEMA = "recoverdsl/result/2"

T = TypeVar("T")


@frozen
class SpecIdentity:
    """Which spec was run."""

    name: str
    """Name of its file, without the folder."""
    digest: str
    """Digest of its canonical form: comments and order do not change it."""
    audit: str | None = None
    """The question that it asks, in words."""


@frozen
class Counts:
    """How many examples are left after each condition."""

    examples: int
    """Rows of the data."""
    base_holds: int
    """Examples whose behavior is present without the clamp."""
    valid_flips: int
    """Examples among these whose behavior the clamp removes. Every recovery figure is over them."""
    failed: int
    """Examples that could not be run without or with the clamp, and valid flips for which some attack
    or control could not be carried out."""


@frozen
class BudgetResult:
    """The figures at one limit of the norm."""

    limit: float | None
    """Largest ‖δ‖_F, in units of the residual stream; None if there was no limit."""
    metrics: dict[str, Estimate]
    """Metric to its estimate, in the order of `schema.METRICS`."""
    covers: tuple[str, ...] = ()
    """For the row `strongest`, the attacks that have this limit."""


@frozen
class TargetBefore:
    """The place of the target token among all next tokens before δ: of an attack, over its valid flips; of
    a clamp, over all examples whose behavior is present without it."""

    n: int
    """Examples that have a target token."""
    rank_base: float
    """Median rank without the clamp; 1 is the most likely."""
    rank_defended: float
    """Median rank under the clamp."""
    probability_base: float
    """Mean probability without the clamp, in [0, 1]."""
    probability_defended: float
    """Mean probability under the clamp."""


@frozen
class AttackResult:
    """The figures of one attack."""

    metrics: dict[str, Estimate]
    """The metrics at the largest limit, and the smallest norm if it was searched for."""
    limit: float | None
    """The largest limit; None if there was none."""
    budgets: tuple[BudgetResult, ...]
    """The figures at every limit, ascending; the last is the largest."""
    preserve: str | None = None
    """The constraint that preserves the protected features (`orthogonal`, `jacobian`, …); None
    without one. Of the row `strongest`, the one that all of its attacks have, or `several`."""
    behavior: str | None = None
    """The behavior that it tests, over whose valid flips its figures are."""
    target: TargetBefore | None = None
    """The target token before δ; None if the behavior has none. `target_rank` and `target_probability`
    are those with δ."""
    under: str | None = field(default=None, kw_only=True)
    """The clamp that it attacks, over whose valid flips its figures are; None in a result that does not
    say."""
    covers: tuple[str, ...] = field(default=(), kw_only=True)
    """For the row `strongest`, the attacks of which it is the worst case, example by example."""

    def at(self, norm: float | None) -> dict[str, Estimate]:
        """Return the metrics at one limit (None: the largest); none if the attack was not run there."""
        if norm is None:
            return self.metrics
        if self.limit is not None and math.isclose(norm, self.limit):
            return self.metrics
        for budget in self.budgets:
            if budget.limit is not None and math.isclose(norm, budget.limit):
                return budget.metrics
        return {}


@frozen
class ClampedBehavior:
    """What a clamp does to a behavior, before any attack."""

    counts: Counts
    """How many examples are left after each condition."""
    target: TargetBefore | None = None
    """The target token without and under the clamp; None if the behavior has none."""


@frozen
class ClampResult:
    """What a clamp does, before any attack and without one."""

    behaviors: dict[str, ClampedBehavior]
    """Behavior that is tested to what becomes of it, in the order of the spec."""


@frozen
class ControlResult(AttackResult):
    """The figures of one control: the same budget, spent on something that should not work."""

    of: str = field(default="", kw_only=True)
    """The attack whose place and budget it has."""
    method: str = field(default="", kw_only=True)
    """`random_direction`, `another_example` (the answer of another example), `another_row` (a behavior
    with the values of another example), `another_behavior` (of the same example), or one of these
    three with `_undefended`: the same without the clamp."""


@frozen
class PartResult:
    """One part of an attack's δ, over valid flips."""

    part: str
    """`clamped`, `other_features`, `residual`, or the number of strongest other features."""
    how: Literal["alone", "without"]
    """Whether the part was replayed alone, or δ without it."""
    metrics: dict[str, Estimate]
    """`recovery_rate`, `base_like_rate` and `norm` of the replayed δ."""


@frozen
class Input:
    """A file that went into the result."""

    name: str
    """Name of the block that it belongs to."""
    kind: str
    """`model`, `sae`, `data`, …"""
    digest: str
    """Digest of its content."""


@frozen
class IntervalUsed:
    """How the interval of a metric was computed."""

    method: Literal["wilson", "bootstrap", "none"]
    """`none` for a maximum, which has no interval."""
    confidence: float | None = None
    """Confidence level, in (0, 1)."""
    resamples: int | None = None
    """Resamples of the bootstrap."""
    seed: int | None = None
    """Seed of the bootstrap."""


@frozen
class Result:
    """The whole result of a run."""

    spec: SpecIdentity
    """Which spec was run."""
    counts: Counts
    """How many examples are left after each condition; of several behaviors or clamps, those of the first."""
    attacks: dict[str, AttackResult]
    """Attack to its figures, in the order of the spec."""
    controls: dict[str, ControlResult]
    """Control to its figures, in the order of the spec."""
    expectations: tuple[ExpectationResult, ...]
    """In the order of the spec, each with the outcome that stands; see `verdict.decide`."""
    inputs: tuple[Input, ...]
    """Weights and data, by their digests."""
    behaviors: dict[str, Counts] = field(factory=dict)
    """Behavior that is tested to its counts, under the first clamp, in the order of the spec; empty if
    there is only one."""
    clamps: dict[str, ClampResult] = field(factory=dict)
    """Clamp to what it does, in the order of the spec; empty in a result that does not say."""
    attributions: dict[str, tuple[PartResult, ...]] = field(factory=dict)
    """Attack to the parts of its δ, in the order of the spec."""
    intervals: dict[str, IntervalUsed] = field(factory=dict)
    """Metric to how its interval was computed."""
    checks: tuple[str, ...] = ()
    """Names of the checks that the attacks were put to."""
    flags: tuple[Flag, ...] = ()
    """What these checks found."""
    searched: tuple[Sample, ...] | None = None
    """The failures on which other searches checked an attack, at each budget that has some and that an
    expectation is about; None in a result that does not say."""
    damage: dict[str, Damage] = field(factory=dict)
    """Clamp to what it does to ordinary text and how far it moves the states that it edits; none of a
    clamp of which the spec asks not to measure it."""
    cautions: tuple[Caution, ...] = ()
    """What should be read beside the verdict, which none of it changes."""
    specificities: tuple[Specificity, ...] = ()
    """Each attack compared with its controls of another target, pair by pair."""
    protected: dict[str, ProtectedFeatures] = field(factory=dict)
    """Clamp to the features that it acts on; empty in results that do not have them."""
    environment: dict[str, Any] = field(factory=dict)
    """Versions, device, threads, dtype, batch sizes: plain JSON values."""
    schema: str = SCHEMA
    """Name and version of this record's form."""

    @property
    def verdict(self) -> Verdict:
        """The verdict that the outcomes of the expectations give; see `verdict.verdict_of`."""
        return verdict_of(expectation.outcome for expectation in self.expectations)

    def counts_of(self, outcome: AttackResult | None) -> Counts:
        """Return the counts of the examples that an attack or control is over: those of its behavior under
        its clamp. Without one, those of the whole result."""
        behavior = (outcome and outcome.behavior) or ""
        clamp = self.clamps.get((outcome and outcome.under) or "") if len(self.clamps) > 1 else None
        if clamp is None:
            return self.behaviors.get(behavior, self.counts)
        first = next(iter(clamp.behaviors.values()))
        return clamp.behaviors.get(behavior, first).counts


def metric_rows(result: Result) -> Iterator[dict[str, Any]]:
    """Yield one row per attack or control, limit and metric.

    Keys: `kind` (`attack` or `control`), `name`, `limit`, `metric`, `value`, `low`, `high`, `n`. The
    rows of the largest limit include those of searches.
    """
    for kind, outcomes in (("attack", result.attacks), ("control", result.controls)):
        for name, outcome in outcomes.items():
            for budget in outcome.budgets:
                whole = budget is outcome.budgets[-1]
                for metric, estimate in (outcome.metrics if whole else budget.metrics).items():
                    yield {
                        "kind": kind, "name": name, "limit": budget.limit, "metric": metric,
                        "value": estimate.value, "low": estimate.low, "high": estimate.high,
                        "n": estimate.n,
                    }  # fmt: skip


_converter = Converter()
_converter.register_unstructure_hook(
    Estimate, make_dict_unstructure_fn(Estimate, _converter, draws=override(omit_if_default=True))
)


@_converter.register_unstructure_hook
def _unstructured(result: Result) -> dict[str, Any]:
    data: dict[str, Any] = make_dict_unstructure_fn(Result, _converter)(result)
    # The verdict is the first thing that a reader looks for.
    head = {key: data.pop(key) for key in ("schema", "spec")}
    return {**head, "verdict": result.verdict, **data}


@_converter.register_structure_hook
def _structured(read: dict[str, Any], _: type[Result]) -> Result:
    schema = read.get("schema")
    if schema not in (SCHEMA, FORMER):
        raise ValueError(f"expected a result of the schema {SCHEMA} or {FORMER}, found {schema!r}")
    current = from_former(read) if schema == FORMER else read
    result: Result = make_dict_structure_fn(Result, _converter)(current, Result)
    if schema == SCHEMA and read["verdict"] != result.verdict:
        raise ValueError(
            f"expected the verdict {result.verdict!r}, which the expectations give, found "
            f"{read['verdict']!r}"
        )
    return result


def to_json(result: Result) -> str:
    """Write a result as JSON: same result, same bytes.

    Records keep the order of their fields, named figures that of the spec, and the environment is
    sorted. A number that is not finite is written as null, since JSON has no NaN.
    """
    return to_text(to_data(result))


def from_json(text: str) -> Result:
    """Read a result that `to_json` wrote, in this version or when the schema was the former one.

    Raises:
        UsageError: the text is not JSON, is of another schema, lacks a field, or its verdict is not
            the one that its expectations give.
    """
    return from_text(text, Result, SCHEMA, FORMER)


def to_data(record: object) -> dict[str, Any]:
    """Return a record as plain data, the name of its schema first and its environment sorted."""
    data = _finite(_converter.unstructure(record))
    if "environment" in data:
        data["environment"] = _sorted(data["environment"])
    return {"schema": data.pop("schema"), **data} if "schema" in data else data


def to_text(data: dict[str, Any]) -> str:
    """Return plain data as a JSON document."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_text(text: str, record: type[T], schema: str, *former: str) -> T:
    """Read a record of a schema, or of a former one.

    Raises:
        UsageError: the text is not JSON, is of another schema, or does not have its structure.
    """
    try:
        read = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"expected a result of the schema {schema}, found text that is not JSON", why=str(error)
        ) from error
    found = read.get("schema") if isinstance(read, dict) else None
    if found not in (schema, *former):
        raise UsageError(
            f"expected a result of the schema {schema}, found "
            + ("none" if found is None else f"the schema {found!r}")
        )
    try:
        return _converter.structure(read, record)
    except BaseValidationError as error:
        raise UsageError(
            f"expected a result of the schema {found}, found another structure", why=_first(error)
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"expected a result of the schema {found}, found another structure",
            why=f"{type(error).__name__}: {error}",
        ) from error


def _first(error: BaseException) -> str:
    while isinstance(error, BaseValidationError):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _sorted(value: Any) -> Any:
    match value:
        case dict():
            return {key: _sorted(value[key]) for key in sorted(value)}
        case list():
            return [_sorted(inner) for inner in value]
        case _:
            return value
