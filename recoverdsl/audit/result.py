"""The result of a run, built from the records of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from attrs import evolve

from recoverdsl.audit.claim import Claim
from recoverdsl.audit.damages import damages
from recoverdsl.audit.protected_features import protected_features
from recoverdsl.audit.tables import example_rows, failed, observed
from recoverdsl.compiler.attacks import budgets_of, budgets_of_expectations
from recoverdsl.compiler.graph import Observed
from recoverdsl.compiler.steps import SelectFeatures
from recoverdsl.engine.steps.feature_records import SelectedFeatures
from recoverdsl.engine.steps.output import Output
from recoverdsl.engine.steps.reach_harder import UnrelatedRecord
from recoverdsl.engine.steps.strength import StrengthRecord
from recoverdsl.engine.steps.suffix_strength import SuffixStrengthRecord
from recoverdsl.language.schema import AnswerOf, BehaviorOf, Control, Spec
from recoverdsl.language.schema.budgets import limits_of
from recoverdsl.language.schema.canonical import digest
from recoverdsl.language.schema.strongest import STRONGEST, strongest_of
from recoverdsl.language.schema.unrelated import controls_of, limits_of_control
from recoverdsl.language.schema.uses import behavior_of, clamp_of
from recoverdsl.language.schema.vocabulary import function_name
from recoverdsl.measure import results
from recoverdsl.measure.cautions import cautions
from recoverdsl.measure.checks import CHECKS, Evidence, flags
from recoverdsl.measure.keys import Budget
from recoverdsl.measure.specificity import by_specific, overestimated, specificities, unspecific
from recoverdsl.measure.strength import Sample, UnrelatedRow
from recoverdsl.measure.summary import Planned, Summary, judge, summarize
from recoverdsl.measure.table import to_frame
from recoverdsl.measure.verdict import decide
from recoverdsl.sources.registry import source_of

if TYPE_CHECKING:
    import pandas as pd


def assemble(
    claim: Claim,
    output: Output,
    ids: Mapping[str, str],
    environment: dict[str, Any],
) -> tuple[results.Result, pd.DataFrame]:
    """Return the result of a run, and its table of examples.

    Args:
        ids: id of each example to the one that artifacts hold; see `audit.texts.shown_ids`.
        environment: the record of the machine and the run.
    """
    spec = claim.spec
    frame = to_frame(example_rows(output, ids))
    preserve = {
        name: function_name(attack.preserve) if attack.preserve else None
        for name, attack in spec.attacks.items()
    }
    covered = strongest_of(spec)
    asked = any(expectation.subject == STRONGEST for expectation in spec.expects)
    controls = {
        name: Planned(
            limits_of_control(spec, name), preserve[control.of], control.of,
            _method(control), behavior_of(spec, spec.attacks[control.of]),
            clamp_of(spec, spec.attacks[control.of]),
        )
        for name, control in controls_of(spec).items()
    }  # fmt: skip
    summary = summarize(
        frame,
        spec.measures,
        # Of a single attack it would be the same row again.
        strongest=covered if asked or len(covered) > 1 else (),
        attacks={
            name: Planned(
                limits_of(spec, attack), preserve[name], behavior=behavior_of(spec, attack),
                under=clamp_of(spec, attack),
            )
            for name, attack in spec.attacks.items()
        },
        controls=controls,
    )  # fmt: skip
    harder = {budget: output.results[key].record for budget, key in output.graph.strength.items()}
    spellings = {
        name: tuple(row.spelling for row in observed(output, base) if row.spelling)
        for name, base in output.graph.behaviors.items()
    }
    unchecked = frozenset(
        at for at in budgets_of_expectations(spec) if not spec.attacks[at.attack].checks
    )
    found = flags(
        Evidence(
            frame,
            summary.attacks,
            summary.controls,
            {at: made.rows for at, made in harder.items() if isinstance(made, StrengthRecord)},
            {
                at: made.rows
                for at, made in harder.items()
                if isinstance(made, SuffixStrengthRecord)
            },
            spellings,
            unchecked,
        )
    )
    specific = specificities(frame, controls, _unrelated(output, ids))
    clamps = {
        name: results.ClampResult(
            {
                behavior: results.ClampedBehavior(
                    _counts(output, at, _outcomes_of(frame, summary, spec, behavior, name)), _target(output, at)
                )
                for behavior, at in clamp.items()
            }
        )
        for name, clamp in output.graph.clamps.items()
    }  # fmt: skip
    side_effects = damages(output)
    rests_on = [budgets_of(spec, expectation) for expectation in spec.expects]
    unrelated = unspecific(frame, specific, budgets_of_expectations(spec), controls)
    counts = {
        name: next(iter(clamps.values())).behaviors[name].counts
        if clamps
        else _without_clamp(output, base)
        for name, base in output.graph.behaviors.items()
    }
    result = results.Result(
        spec=results.SpecIdentity(claim.path.name, digest(spec), spec.audit),
        counts=next(iter(counts.values())),
        behaviors=counts if len(counts) > 1 else {},
        clamps=clamps,
        attacks=summary.attacks,
        controls=summary.controls,
        attributions=summary.attributions,
        expectations=decide(
            judge(spec.expects, summary),
            rests_on,
            flags=found,
            unspecific=unrelated,
            specific=by_specific(frame, spec.expects, rests_on, spec.measures, unrelated),
            overestimated=overestimated(specific),
        ),
        inputs=tuple(
            results.Input(name, kind, source_of(block).pin(claim.fetcher))
            for kind, blocks in (
                ("model", spec.models),
                ("sae", spec.saes),
                ("data", spec.data),
            )
            for name, block in blocks.items()
        ),
        intervals=summary.intervals,
        checks=tuple(CHECKS),
        flags=found,
        searched=tuple(
            Sample(at.attack, at.limit, at.least, len(made.rows), made.failures)
            for at, made in harder.items()
            if isinstance(made, (StrengthRecord, SuffixStrengthRecord))
        ),
        damage=side_effects,
        cautions=cautions(spec.intervenes, side_effects),
        specificities=specific,
        protected=protected_features(spec, output),
        environment=environment | _steps(output, ids),
    )
    return result, frame


def _unrelated(
    output: Output, ids: Mapping[str, str]
) -> dict[Budget, dict[str, tuple[UnrelatedRow, ...]]]:
    """Return the stronger searches of unrelated targets, by the ids that artifacts hold."""

    def rows(key: str) -> tuple[UnrelatedRow, ...]:
        # Where nothing was to be searched, there is no record.
        made = output.results[key].record
        assert made is None or isinstance(made, UnrelatedRecord)
        return tuple(evolve(row, example=ids[row.example]) for row in (made.rows if made else ()))

    return {
        budget: {control: rows(key) for control, key in controls.items()}
        for budget, controls in output.graph.unrelated.items()
    }


def _outcomes_of(
    frame: pd.DataFrame, summary: Summary, spec: Spec, behavior: str, clamp: str
) -> pd.DataFrame:
    """Return the rows of the attacks and controls of a spec that test a behavior under a clamp.

    A control that the audit adds by itself is none of them: that a flip has no unrelated target is no
    failure of what was asked for.
    """
    outcomes = {
        name: one
        for name, one in {**summary.attacks, **summary.controls}.items()
        if name in spec.attacks or name in spec.controls
    }
    names = [name for name, one in outcomes.items() if (one.behavior, one.under) == (behavior, clamp)]  # fmt: skip
    return frame[frame["name"].isin(names)]


def _counts(output: Output, behavior: Observed, rows: pd.DataFrame) -> results.Counts:
    """Return how many examples of a behavior are left after each condition.

    Args:
        rows: those of the attacks and controls that test it.
    """
    tried = rows.loc[rows["failed"].notna(), "example"].nunique()
    return evolve(
        _without_clamp(output, behavior.base),
        valid_flips=len(output.flips(behavior.flips)),
        failed=int(tried) + len(failed(output, behavior.base, behavior.defended)),
    )


def _without_clamp(output: Output, base: str) -> results.Counts:
    """Return how many examples show a behavior, where nothing clamps it."""
    rows = observed(output, base)
    return results.Counts(len(rows), sum(row.holds for row in rows), 0, len(failed(output, base)))


def _target(output: Output, behavior: Observed) -> results.TargetBefore | None:
    """Return the place of the target token without and under a clamp, over the examples whose behavior is
    there without it."""
    pairs = zip(observed(output, behavior.base), observed(output, behavior.defended), strict=True)
    places = [
        (one.target, other.target)
        for one, other in pairs
        if one.holds and one.target and other.target and not (one.failed or other.failed)
    ]
    if not places:
        return None
    return results.TargetBefore(
        len(places),
        *(float(median(place.rank for place in side)) for side in zip(*places, strict=True)),
        *(fmean(place.probability for place in side) for side in zip(*places, strict=True)),
    )


def _steps(output: Output, ids: Mapping[str, str]) -> dict[str, Any]:
    """Return the entries about the steps in the record of the environment."""
    graph = output.graph
    bases = graph.behaviors.values()
    defended = [at.defended for clamp in graph.clamps.values() for at in clamp.values()]
    return {
        "failed": {ids[id]: why for id, why in failed(output, *bases, *defended).items()},
        "features": {
            key: {
                sae: _selected(output.record(key, SelectedFeatures), number)
                for number, sae in enumerate(graph.saes_of(graph[key]))
            }
            for key in graph.keys_of(SelectFeatures)
        },
        "steps": {node.key: node.digest for node in graph},
    }


def _selected(features: SelectedFeatures, sae: int) -> dict[str, Any]:
    rows = [row for row in features.rows if row.sae == sae]
    return {
        "ids": [row.feature for row in rows],
        "effects": [round(row.effect, 6) for row in rows],
        "encoder": rows[0].encoder if rows else None,
        "left_out": features.left_out,
    }


def _method(control: Control) -> str:
    if control.method:
        return control.method
    kind = "another_behavior"
    if isinstance(control.target, AnswerOf):
        kind = "another_example"
    elif isinstance(control.target, BehaviorOf):
        kind = "another_row"
    return kind if control.on == "defended" else f"{kind}_undefended"
