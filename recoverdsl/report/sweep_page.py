"""The page of a sweep: what came out at every point, and curves over its axes."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from recoverdsl.language.schema import METRICS
from recoverdsl.measure.sweeps import PointResult, SweepResult, axes_of
from recoverdsl.report.cells import generates, value_of
from recoverdsl.report.evidence import cautions
from recoverdsl.report.html import template
from recoverdsl.report.sweep_plots import over_axis
from recoverdsl.report.words import clean_line, figure, interval, norm, percent, plural

VERDICTS = {
    "holds": "✓ holds", "does not hold": "✗ does not hold", "undefined": "? undefined", "not judged": "–",
}  # fmt: skip
"""Verdict at a point as tables show it."""


@frozen
class Cells:
    """One attack or control at one point."""

    point: int
    values: tuple[str, ...]
    folder: str
    flips: str
    verdict: str
    first: bool
    """Whether this is the first row of its point."""
    name: str
    kind: str
    figures: tuple[str, ...]


@frozen
class Curves:
    """A sweep, for the reader."""

    name: str
    axes: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[Cells, ...]
    figures: tuple[tuple[str, str], ...]
    """Each with what it shows."""


def render_sweep(swept: SweepResult, *, spec: str = "") -> str:
    """The page, self-contained like that of a run; each point's own report is linked from it.

    Args:
        spec: the text of the spec as run.
    """
    return template("sweep.html").render(
        swept=swept,
        title=clean_line(swept.spec.audit or swept.spec.name),
        headline=sweep_headline(swept),
        cautions=sweep_cautions(swept),
        sweeps=[_curves(name, points) for name, points in swept.sweeps.items()],
        spec=spec,
    )


def sweep_headline(swept: SweepResult) -> str:
    """At how many points the claim holds, in a sentence."""
    count, failing = len(swept.points), len(swept.failing)
    judged = [p for p in swept.points if p.result.verdict != "not judged"]
    if not judged:
        return f"{plural(count, 'point')} were run; the spec expects nothing of them."
    if not failing:
        return f"Every expectation is met at all {plural(count, 'point')}."
    return f"An expectation is not met, or undefined, at {failing} of {plural(count, 'point')}."


def sweep_cautions(swept: SweepResult) -> list[str]:
    """What each point's own report warns of, with the points that it is about."""
    at: dict[str, list[int]] = {}
    for number, point in enumerate(swept.points, start=1):
        for caution in cautions(point.result):
            at.setdefault(caution, []).append(number)
    return [
        f"At point{'s' * (len(points) > 1)} {', '.join(map(str, points))}: {caution}"
        for caution, points in at.items()
    ]


def sweep_rows(points: Sequence[PointResult], *, decimals: int = 1) -> tuple[Cells, ...]:
    """The rows of a sweep's table, at the largest limit of each attack and control."""
    texts = any(generates(point.result) for point in points)
    shown = axes_of(points)
    rows: list[Cells] = []
    for number, point in enumerate(points, start=1):
        result = point.result
        outcomes = [("attack", *item) for item in result.attacks.items()]
        outcomes += [("control", *item) for item in result.controls.items()]
        for at, (kind, name, outcome) in enumerate(outcomes):
            rate = outcome.metrics.get("recovery_rate")
            drift = "generated_drift" if texts else "drift"
            told = percent(rate.value, decimals) if rate else "–"
            between = interval(rate, decimals) if rate else ""
            alike = percent(value_of(outcome.metrics, "base_like_rate"), decimals)
            rows.append(
                Cells(
                    point=number,
                    values=tuple(point.values[a] for a in shown),
                    folder=point.folder, flips=str(result.counts.valid_flips),
                    verdict=VERDICTS[result.verdict], first=at == 0, name=clean_line(name),
                    kind=kind,
                    figures=(
                        norm(outcome.limit), f"{told} [{between}]" if between else told,
                        *((alike,) if texts else ()), figure(value_of(outcome.metrics, drift)),
                        figure(value_of(outcome.metrics, "norm")),
                    ),
                )
            )  # fmt: skip
    return tuple(rows)


def sweep_headings(points: Sequence[PointResult]) -> tuple[str, ...]:
    """Headings of the figures of `sweep_rows`."""
    if any(generates(point.result) for point in points):
        return ("norm ≤", "recovered", "base-like", "drift (generated)", "norm")
    return ("norm ≤", "recovered", "drift", "norm")


def _curves(name: str, points: Sequence[PointResult]) -> Curves:
    from markupsafe import Markup

    texts = any(generates(point.result) for point in points)
    wanted = ["recovery_rate", "base_like_rate" if texts else "drift"]
    if any("smallest_norm" in o.metrics for p in points for o in p.result.attacks.values()):
        wanted.append("smallest_norm")
    figures = tuple(
        (
            METRICS[metric].doc,
            Markup(over_axis(points, metric, f"sweep-{name}-{metric}", rate=METRICS[metric].rate)),
        )
        for metric in wanted
    )
    return Curves(
        clean_line(name), tuple(map(clean_line, axes_of(points))), sweep_headings(points),
        sweep_rows(points), figures,
    )  # fmt: skip
