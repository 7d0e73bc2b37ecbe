"""The page of a sweep: the outcome at every point, and curves over its axes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from recoverdsl.language.schema import METRICS
from recoverdsl.measure.expectation import Outcome
from recoverdsl.measure.results import Result
from recoverdsl.measure.sweeps import PointResult, SweepResult, axes_of
from recoverdsl.report.cells import generates, value_of
from recoverdsl.report.clamps import flips_named
from recoverdsl.report.evidence import cautions
from recoverdsl.report.html import template
from recoverdsl.report.strength import strength
from recoverdsl.report.sweep_plots import over_axis
from recoverdsl.report.words import (
    clean_line,
    enumerated,
    figure,
    interval,
    norm,
    percent,
    plural,
)

VERDICTS = {
    "holds": "✓ holds", "does_not_hold": "✗ does not hold", "inconclusive": "? inconclusive",
    "not_judged": "–",
}  # fmt: skip
"""The verdict at a point as tables show it."""


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
class Expected:
    """One expectation of a sweep's spec, with the numbers of the points by its outcome."""

    text: str
    met: tuple[int, ...]
    broken: tuple[int, ...]
    undecided: tuple[int, ...]

    def __str__(self) -> str:
        parts = {"met": self.met, "not met": self.broken, "undecided": self.undecided}
        return ", ".join(f"{word} at {ranges(points)}" for word, points in parts.items() if points)


@frozen
class Curves:
    """The table and figures of one sweep, formatted."""

    name: str
    axes: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[Cells, ...]
    figures: tuple[tuple[str, str], ...]
    """Each with its caption."""


def render_sweep(swept: SweepResult, *, spec: str = "") -> str:
    """Render the page, self-contained like a run's; it links to the report of each point.

    Args:
        spec: the text of the spec as run.
    """
    return template("sweep.html").render(
        swept=swept,
        title=clean_line(swept.spec.audit or swept.spec.name),
        headline=sweep_headline(swept),
        cautions=[*sweep_findings(swept), *sweep_cautions(swept)],
        verdicts={point.result.verdict for point in swept.points},
        expectations=sweep_expectations(swept),
        sweeps=[
            _curves(name, points, swept.points.index(points[0]) + 1)
            for name, points in swept.sweeps.items()
        ],
        spec=spec,
    )


def sweep_headline(swept: SweepResult) -> str:
    """Return a sentence on the number of points with each verdict."""
    count, found = len(swept.points), Counter(p.result.verdict for p in swept.points)
    broken, unsure = found["does_not_hold"], found["inconclusive"]
    if found["not_judged"] == count:
        return f"{plural(count, 'point')} were run; the spec expects nothing of them."
    if broken and unsure:
        return (
            f"The claim does not hold at {broken} of {plural(count, 'point')}; at {unsure} it is "
            "inconclusive."
        )
    if broken or unsure:
        said = "does not hold" if broken else "is inconclusive"
        return f"The claim {said} at {broken or unsure} of {plural(count, 'point')}."
    return f"The claim holds at all {plural(count, 'point')}: every expectation is met."


def sweep_cautions(swept: SweepResult) -> list[str]:
    """List the cautions of the points' reports, each with the points that it applies to."""
    return _by_points(swept, cautions)


def sweep_findings(swept: SweepResult) -> list[str]:
    """List what the checks of the attacks found, each with its points."""
    return _by_points(swept, lambda result: strength(result).findings)


def _by_points(swept: SweepResult, said: Callable[[Result], Iterable[str]]) -> list[str]:
    at: dict[str, list[int]] = {}
    for number, point in enumerate(swept.points, start=1):
        for sentence in said(point.result):
            at.setdefault(sentence, []).append(number)
    return [f"At {ranges(points)}: {sentence}" for sentence, points in at.items()]


def sweep_expectations(swept: SweepResult) -> list[Expected]:
    """List each expectation with its points by outcome; swept values in it make separate ones."""
    at: dict[str, dict[Outcome, list[int]]] = {}
    for number, point in enumerate(swept.points, start=1):
        for judged in point.result.expectations:
            sides = at.setdefault(judged.text, {"met": [], "broken": [], "undecided": []})
            sides[judged.outcome].append(number)
    return [Expected(clean_line(text), *map(tuple, sides.values())) for text, sides in at.items()]


def ranges(points: Sequence[int]) -> str:
    """Format the numbers of points, such as `points 1–3 and 7`."""
    runs: list[list[int]] = []
    for point in points:
        if runs and point == runs[-1][-1] + 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    listed = enumerated(f"{r[0]}–{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)
    return f"point{'s' * (len(points) > 1)} {listed}"


def sweep_rows(
    points: Sequence[PointResult], *, decimals: int = 1, start: int = 1
) -> tuple[Cells, ...]:
    """Return the rows of a sweep's table, at the largest limit of each attack and control.

    Args:
        start: the number of the first point among those of all sweeps.
    """
    texts = any(generates(point.result) for point in points)
    shown = axes_of(points)
    rows: list[Cells] = []
    for number, point in enumerate(points, start=start):
        result = point.result
        outcomes = [("attack", *item) for item in result.attacks.items()]
        outcomes += [("control", *item) for item in result.controls.items()]
        for at, (kind, name, outcome) in enumerate(outcomes):
            rate = outcome.metrics.get("recovery_rate")
            drift = "generated_drift" if texts else "drift"
            recovered = percent(rate.value, decimals) if rate else "–"
            between = interval(rate, decimals) if rate else ""
            base_like = percent(value_of(outcome.metrics, "base_like_rate"), decimals)
            rows.append(
                Cells(
                    point=number,
                    values=tuple(point.values[a] for a in shown),
                    folder=point.folder, flips=flips_named(result),
                    verdict=VERDICTS[result.verdict], first=at == 0, name=clean_line(name),
                    kind=kind,
                    figures=(
                        norm(outcome.limit), f"{recovered} [{between}]" if between else recovered,
                        *((base_like,) if texts else ()), figure(value_of(outcome.metrics, drift)),
                        figure(value_of(outcome.metrics, "norm")),
                    ),
                )
            )  # fmt: skip
    return tuple(rows)


def sweep_headings(points: Sequence[PointResult]) -> tuple[str, ...]:
    """Return the headings of the figures of `sweep_rows`."""
    if any(generates(point.result) for point in points):
        return ("norm ≤", "recovered", "base-like", "drift (generated)", "norm")
    return ("norm ≤", "recovered", "drift", "norm")


def _curves(name: str, points: Sequence[PointResult], start: int) -> Curves:
    from markupsafe import Markup

    texts = any(generates(point.result) for point in points)
    metrics = ["recovery_rate", "base_like_rate" if texts else "drift"]
    if any("smallest_norm" in o.metrics for p in points for o in p.result.attacks.values()):
        metrics.append("smallest_norm")
    figures = tuple(
        (
            METRICS[metric].doc,
            Markup(over_axis(points, metric, f"sweep-{name}-{metric}", rate=METRICS[metric].rate)),
        )
        for metric in metrics
    )
    return Curves(
        clean_line(name), tuple(map(clean_line, axes_of(points))), sweep_headings(points),
        sweep_rows(points, start=start), figures,
    )  # fmt: skip
