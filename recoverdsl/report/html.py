"""The report page: one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd
from attrs import frozen

from recoverdsl.language.schema import METRICS
from recoverdsl.measure.results import IntervalUsed, Result, to_json
from recoverdsl.measure.summary import trials
from recoverdsl.report import parts, sentences
from recoverdsl.report.cells import (
    COST_HEADINGS,
    caption,
    confidence,
    costs,
    generates,
    headings,
    is_suffix,
    limit_of,
    outcomes_of,
    rows_shown,
    table,
)
from recoverdsl.report.clamps import CAPTION as CLAMP_CAPTION
from recoverdsl.report.clamps import HEADINGS as CLAMP_HEADINGS
from recoverdsl.report.clamps import clamp_named, clamped, flips_of_all
from recoverdsl.report.evidence import cautions
from recoverdsl.report.openings import OPENING_HEADINGS, categories, openings
from recoverdsl.report.plots import part_bars, recovery_against_budget, recovery_against_drift
from recoverdsl.report.protected_features import HEADINGS as FEATURE_HEADINGS
from recoverdsl.report.protected_features import MANY, feature_tables
from recoverdsl.report.revealed import Revealed, by_example
from recoverdsl.report.side_effects import side_effects
from recoverdsl.report.specificity import specificity
from recoverdsl.report.strength import strength
from recoverdsl.report.words import clean, clean_line, figure, percent
from recoverdsl.report.written import facts, spec_of

if TYPE_CHECKING:
    from jinja2 import Template


@frozen
class Outcome:
    """The outcome of the valid flips, or of the draws of each, for one attack or control at its largest limit."""

    name: str
    kind: str
    limit: str
    without_reactivation: int
    """Recovered, and no protected feature newly above zero."""
    with_reactivation: int
    """Recovered, and some protected feature newly above zero."""
    not_recovered: int
    failed: int

    @property
    def parts(self) -> dict[str, int]:
        """The count of each part of the bar, by its CSS class."""
        return {
            "unreactivated": self.without_reactivation,
            "reactivated": self.with_reactivation,
            "missed": self.not_recovered,
            "failed": self.failed,
        }


@frozen
class Attribution:
    """The effect of each part of an attack's δ, formatted."""

    attack: str
    figures: tuple[tuple[str, Any], ...]
    """What is replayed, in words, with its bars."""
    rows: list[list[str]]


@frozen
class Definition:
    """The definition of a metric, formatted."""

    name: str
    doc: str
    unit: str
    source: str
    interval: str


def render_html(
    result: Result,
    rows: pd.DataFrame,
    *,
    spec: str = "",
    graph: str | None = None,
    texts: Sequence[Revealed] = (),
    date: str = "",
) -> str:
    """Render the page.

    Args:
        result: the result to report.
        rows: the table of `measure.table.SCHEMA`.
        spec: the text of the spec as run.
        graph: the graph of steps as Mermaid text; it is shown as text.
        texts: prompts and completions, of a run that reveals them.
        date: the day of the run.

    Returns:
        A complete HTML document that contains its style, figures and `result.json`. It runs no
        script and loads nothing; names and texts are escaped. The same input gives the same bytes.
    """
    from markupsafe import Markup

    rows = rows_shown(result, rows)
    written = spec_of(spec)
    attacks = {
        name: sentences.attack_sentence(
            attack, written.attacks.get(name) if written else None, clamp_named(result, attack)
        )
        for name, attack in result.attacks.items()
    }
    controls = {
        name: sentences.control_sentence(control, result.attacks.get(control.of))
        for name, control in result.controls.items()
    }
    return template("report.html").render(
        result=result,
        title=clean_line(result.spec.audit or result.spec.name),
        headline=sentences.headline(result),
        facts=facts(written, date),
        funnel=sentences.funnel(result),
        clamps=clamped(result),
        clamp_headings=CLAMP_HEADINGS,
        clamp_caption=CLAMP_CAPTION,
        flips=flips_of_all(result),
        undecided=sentences.undecided(result),
        strength=strength(result),
        specificity=[*specificity(result), *sentences.targets(result)],
        cautions=cautions(result),
        method=sentences.method(result),
        side_effects=side_effects(result),
        attacks=attacks,
        controls=controls,
        generates=generates(result),
        suffixes=any(is_suffix(attack) for attack in result.attacks.values()),
        features=feature_tables(result),
        feature_headings=FEATURE_HEADINGS,
        many=MANY,
        headings=headings(result),
        table=table(result),
        caption=caption(result),
        drift_figure=Markup(recovery_against_drift(result)),
        budget_figure=Markup(recovery_against_budget(result, rows)),
        attributions=list(_attributions(result)),
        attribution_headings=parts.headings(result),
        attribution_explanation=parts.EXPLANATION,
        level=percent(confidence(result) or 0.95),
        openings=openings(result, rows),
        opening_headings=OPENING_HEADINGS,
        categories=categories(result, rows),
        costs=costs(result),
        cost_headings=COST_HEADINGS,
        expectations=[sentences.expected(e) for e in result.expectations],
        outcomes=list(_outcomes(result, rows)),
        definitions=_definitions(result),
        limits=sentences.LIMITS,
        environment=_flat(result.environment),
        spec=spec,
        graph=graph,
        revealed=result.environment.get("revealed"),
        texts=by_example(texts),
        data=Markup(_script_safe(to_json(result))),
    )


def render_fragment(result: Result) -> str:
    """Render the verdict, the table and the expectations for a notebook: no script, no style sheet."""
    return template("fragment.html").render(
        title=clean_line(result.spec.audit or result.spec.name),
        headline=sentences.headline(result),
        undecided=sentences.undecided(result),
        strength=strength(result),
        specificity=[*specificity(result), *sentences.targets(result)],
        cautions=cautions(result),
        headings=headings(result),
        table=table(result),
        caption=caption(result),
        expectations=[sentences.expected(e) for e in result.expectations],
    )


@cache
def template(name: str) -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("recoverdsl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"line": clean_line, "text": clean, "figure": figure}
    return environment.get_template(name)


def _script_safe(text: str) -> str:
    """Escape JSON so that it cannot end its script element and still parses to the same value."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _outcomes(result: Result, rows: pd.DataFrame) -> Iterator[Outcome]:
    for kind, group in (("attack", result.attacks), ("control", result.controls)):
        for name, outcome in group.items():
            limit = float("inf") if outcome.limit is None else outcome.limit
            done = trials(rows, kind, name)
            done = done[done["limit"] == limit]
            tried = rows[(rows["kind"] == kind) & (rows["name"] == name)]
            tried = tried[tried["limit"].fillna(float("inf")) == limit]
            without = int(done["zero_reactivation_recovery"].sum())
            recovered = int(done["recovered"].sum())
            yield Outcome(
                clean_line(name), kind, limit_of(outcome, outcome.limit), without, recovered - without,
                len(done) - recovered, len(tried) - len(done),
            )  # fmt: skip


def _attributions(result: Result) -> Iterator[Attribution]:
    from markupsafe import Markup

    for i, name in enumerate(result.attributions):
        figures = tuple(
            (said, Markup(part_bars(result, name, how, f"part-{i}-{how}")))
            for how, said in parts.HOW.items()
        )
        yield Attribution(clean_line(name), figures, parts.rows(result, name))


def _definitions(result: Result) -> list[Definition]:
    measured = {
        metric
        for metrics in (
            *(outcome.metrics for _, _, outcome in outcomes_of(result)),
            *(part.metrics for replayed in result.attributions.values() for part in replayed),
        )
        for metric in metrics
    }
    return [
        Definition(
            name,
            metric.doc,
            metric.unit or "",
            metric.source or "",
            _interval(result.intervals.get(name)),
        )
        for name, metric in METRICS.items()
        if name in measured
    ]


def _interval(used: IntervalUsed | None) -> str:
    if used is None or used.method == "none":
        return ""
    level = percent(used.confidence)
    if used.method == "wilson":
        return f"Wilson, {level}"
    return f"bootstrap, {level}, {used.resamples} resamples, seed {used.seed}"


def _flat(plain: Any, path: str = "") -> dict[str, str]:
    """Flatten nested plain values to dotted paths, sorted."""
    if not isinstance(plain, dict):
        return {path: plain if isinstance(plain, str) else json.dumps(plain, default=str)}
    flat: dict[str, str] = {}
    for key in sorted(plain):
        flat |= _flat(plain[key], f"{path}.{key}" if path else str(key))
    return flat
