"""Curves over an axis of a sweep, as SVG to be embedded in a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import AttackResult, Result
from recoverdsl.measure.sweeps import PointResult, axes_of, number
from recoverdsl.report.labels import spread
from recoverdsl.report.plots import alt, axes, styles, to_svg
from recoverdsl.report.words import clean_line, enumerated, figure, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 8
"""The most lines that can be distinguished: beyond it, controls are left out, then further values."""

_LIMIT = re.compile(r"\s*norm\s*<=\s*")

CLOSE = 0.065
"""The smallest distance between two labels of the axis, as a share of its length."""

LOGARITHMIC = 30.0
"""The ratio of the largest to the smallest value from which the axis is logarithmic."""


@frozen
class Line:
    """One attack or control along an axis, with the other axes fixed."""

    kind: str
    name: str
    held: str
    """The values of the other axes, such as `clamp.to = -5`; empty if there are none."""
    points: tuple[tuple[str, Estimate], ...]
    """The values of the axis as written, each with the figure there, where it is defined."""


def over_axis(points: Sequence[PointResult], metric: str, name: str, *, rate: bool) -> str:
    """Draw a metric along the first axis whose value changes, for each attack and control.

    Whiskers are the metric's own intervals; controls are dashed. With more axes there is a line for
    each of their values. Numbers are drawn to scale, logarithmic if they span much; words are
    evenly spaced.

    Args:
        points: the points of one sweep.
        rate: whether the metric is a share, drawn from 0 to 100%.
        name: the name of the figure; unique in the page.

    Returns:
        An `<svg>` element with alt text; the same points give the same bytes.
    """
    axis, *others = axes_of(points)
    lines = _lines(points, axis, others, metric)
    places = _places([p.values[axis] for p in points])
    fig, ax = axes()
    limits = all(_LIMIT.match(value) for value in places)
    ax.set_xlabel(f"{axis}: norm ≤" if limits else axis)
    _scale(ax, places)
    top = 1.0 if rate else _plain_height(ax, lines, metric)
    drawn = styles(points[0].result)
    ends = []
    for i, line in enumerate(lines):
        style = drawn[line.name]
        kept = [(places[value], e.value, e) for value, e in line.points if e.value is not None]
        x, y, estimates = zip(*kept, strict=True)
        low = [
            max(0.0, v - (v if e.low is None else e.low)) for v, e in zip(y, estimates, strict=True)
        ]
        high = [
            max(0.0, (v if e.high is None else e.high) - v)
            for v, e in zip(y, estimates, strict=True)
        ]
        # Lines of one attack at other values differ in opacity.
        faded = 1.0 - 0.6 * (i / max(1, len(lines) - 1)) if line.held else 1.0
        ax.errorbar(x, y, yerr=[low, high], **style.line, elinewidth=1, capsize=2.5, alpha=faded)
        label = shortened(f"{line.name}{f', {line.held}' if line.held else ''}")
        ends.append((y[-1], label, style.color))
    spread(ax, ends, top)
    said = [
        f"{line.kind} {clean_line(line.name)}{f' with {line.held}' if line.held else ''}: "
        + enumerated(
            f"{percent(e.value) if rate else figure(e.value)} at {value}"
            for value, e in line.points
        )
        for line in lines
    ]
    return to_svg(fig, name, alt(f"{metric} along {axis}.", said))


def _lines(
    points: Sequence[PointResult], axis: str, others: Sequence[str], metric: str
) -> list[Line]:
    found: list[Line] = []
    changing = [a for a in others if len({p.values[a] for p in points}) > 1]
    combinations = dict.fromkeys(tuple(p.values[a] for a in changing) for p in points)
    for kind, name in _names(points[0].result):
        for held in combinations:
            here = [p for p in points if tuple(p.values[a] for a in changing) == held]
            made = tuple(
                (p.values[axis], e)
                for p in here
                if (e := _outcome(p.result, kind, name).metrics.get(metric)) and e.value is not None
            )
            text = ", ".join(f"{a} = {v}" for a, v in zip(changing, held, strict=True))
            if made:
                found.append(Line(kind, name, text, made))
    if len(found) > MOST_LINES:
        found = [line for line in found if line.kind == "attack"]
    return found[:MOST_LINES]


def _names(result: Result) -> list[tuple[str, str]]:
    return [("attack", n) for n in result.attacks] + [("control", n) for n in result.controls]


def _outcome(result: Result, kind: str, name: str) -> AttackResult:
    return (result.attacks if kind == "attack" else result.controls)[name]


def _places(values: Sequence[str]) -> dict[str, float]:
    """Return the position of each value on the axis: its number, or its index among words."""
    numbers = {value: number(value) for value in values}
    if None in numbers.values():
        return {value: float(at) for at, value in enumerate(dict.fromkeys(values))}
    return {value: n for value, n in numbers.items() if n is not None}


def _scale(ax: Axes, places: dict[str, float]) -> None:
    spots = sorted(places.values())
    if spots[0] > 0 and spots[-1] / spots[0] >= LOGARITHMIC:
        ax.set_xscale("log")
        ax.set_xlim(spots[0] / 1.2, spots[-1] * 1.2)
    else:
        margin = 0.06 * ((spots[-1] - spots[0]) or 1.0)
        ax.set_xlim(spots[0] - margin, spots[-1] + margin)
    # Only values that were run have a tick, labeled as written.
    from matplotlib.ticker import NullLocator

    labels = [shortened(_LIMIT.sub("", value)) for value in places]
    numbers = all(number(value) is not None for value in places)
    crowded = not numbers and len("".join(labels)) > 40
    shown = _apart(ax, list(places.values())) if numbers else set(places.values())
    ax.set_xticks(
        list(places.values()),
        [label if at in shown else "" for label, at in zip(labels, places.values(), strict=True)],
        rotation=30 if crowded else 0, ha="right" if crowded else "center",
    )  # fmt: skip
    ax.xaxis.set_minor_locator(NullLocator())


def _apart(ax: Axes, spots: Sequence[float]) -> set[float]:
    """Return the spots whose labels have room: the ends, and those far enough from them and from each
    other."""
    along = {spot: float(ax.transAxes.inverted().transform(ax.transData.transform((spot, 0)))[0]) for spot in spots}  # fmt: skip
    ordered = sorted(spots)
    kept = list(dict.fromkeys((ordered[0], ordered[-1])))
    for spot in ordered:
        if all(abs(along[spot] - along[other]) >= CLOSE for other in kept):
            kept.append(spot)
    return set(kept)


def _plain_height(ax: Axes, lines: Sequence[Line], metric: str) -> float:
    """Set up the vertical axis for a figure that is not a share, from 0; return its height."""
    from matplotlib.ticker import AutoLocator, ScalarFormatter

    tops = [e.high or e.value or 0.0 for line in lines for _, e in line.points]
    top = max([*tops, 1e-12])
    ax.set_ylim(-0.02 * top, 1.08 * top)
    ax.yaxis.set_major_locator(AutoLocator())
    ax.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    ax.set_ylabel(metric)
    return top
