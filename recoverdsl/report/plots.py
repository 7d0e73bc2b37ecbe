"""The figures of the report, as SVG to be embedded in a page.

matplotlib takes long to load, so it is imported where it is used.
"""

from __future__ import annotations

import io
import math
import re
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd
from attrs import frozen

from recoverdsl.measure.curve import Curve, Point, recovery_curve
from recoverdsl.measure.results import AttackResult, Result
from recoverdsl.report.cells import confidence, generates
from recoverdsl.report.labels import place, spread
from recoverdsl.report.parts import HOW, bars
from recoverdsl.report.words import clean_line, enumerated, figure, norm, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each is legible on white and on black, and the four differ for color-blind readers and in gray;
# markers differ too, so that color alone never carries meaning.
_COLORS = ("#0077bb", "#d55e00", "#009073", "#b0609a")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_CONTROL = "#808080"

# A placeholder for the page's text color, replaced by `currentColor`.
_INK = "#010203"
_SIZE = (5.2, 3.7)


@frozen
class Style:
    color: str
    marker: str
    dashed: bool

    @property
    def line(self) -> dict[str, Any]:
        return {
            "color": self.color,
            "marker": self.marker,
            "markersize": 7,
            "linewidth": 1.4,
            "linestyle": "--" if self.dashed else "-",
            "markerfacecolor": "none" if self.dashed else self.color,
        }


def recovery_against_drift(result: Result) -> str:
    """Draw the recovered share against relative drift, for each attack and control at each budget.

    The horizontal axis is linear around 0 and logarithmic beyond the smallest drift, so that a
    drift of exactly 0 can be drawn. Points without a defined drift are left out. Where texts were
    generated, the drift is the one on them.

    Returns:
        An `<svg>` element with alt text; the same result gives the same bytes.
    """
    metric = "generated_drift" if generates(result) else "drift"
    series = {
        key: points
        for key, outcome in _outcomes(result).items()
        if (points := _points(outcome, metric))
    }
    drifts = [drift for points in series.values() for drift, _, _ in points]
    fig, ax = axes()
    smallest = min((d for d in drifts if d > 0), default=1e-3)
    threshold = 10.0 ** math.floor(math.log10(smallest))
    top = max([*drifts, 10 * threshold])
    ax.set_xscale("symlog", linthresh=threshold, linscale=0.6)
    ax.set_xlim(-0.25 * threshold, top * (4 if top > 100 * threshold else 2))
    _decades(ax, threshold, top)
    ax.set_xlabel(
        "drift on the generated text, relative (0 = they did not move)"
        if generates(result)
        else "drift of the protected features, relative (0 = they did not move)"
    )

    drawn = styles(result)
    labels = []
    for (kind, name), points in series.items():
        style = drawn[name]
        points = sorted(points, key=lambda p: math.inf if p[2] is None else p[2])
        x, y, limits = zip(*points, strict=True)
        ax.plot(x, y, **style.line, clip_on=False, zorder=3)
        labels.append((x[-1], y[-1], shortened(name), style.color, 10.0))
        # Controls lie close together at the bottom, where more numbers would cover them.
        if kind == "attack" and len(points) > 1:
            ends = list(zip(x, y, limits, strict=True))
            labels += [(px, py, norm(limit), style.color, 8.5) for px, py, limit in ends]
    place(ax, labels, avoid=[(x, y) for points in series.values() for x, y, _ in points])

    return to_svg(fig, "drift", _drift_alt(series))


def recovery_against_budget(result: Result, rows: pd.DataFrame) -> str:
    """Draw the recovered share against the norm budget.

    Points with Wilson whiskers are the budgets that were run, with controls dashed. A step line is
    the share of examples whose smallest recovering norm is at most the budget, where it was searched
    for.

    Args:
        result: names and order, and the confidence of the whiskers (95% if it has none).
        rows: the table of `measure.table.SCHEMA`.

    Returns:
        An `<svg>` element with alt text; the same input gives the same bytes.
    """
    curves = recovery_curve(rows, confidence=confidence(result) or 0.95)
    drawn = styles(result)
    # A suffix has no norm, so it cannot be drawn here.
    curves = tuple(c for c in curves if c.name in drawn and any(map(_finite, c.points)))
    norms = [p.limit for c in curves for p in c.points if _finite(p)]
    norms += [reached for c in curves for reached, _ in c.reached]
    top = max(norms, default=1.0)
    fig, ax = axes()
    ax.set_xlim(0, 1.08 * top)
    ax.set_xlabel("norm of the perturbation at most (norm of δ)")

    ends = []
    for i, curve in enumerate(curves):
        style = drawn[curve.name]
        # Shifted, or whiskers at the same budget would cover each other.
        apart = min(5.0, 20.0 / len(curves))
        aside = apart * (i - (len(curves) - 1) / 2)
        end = _draw(ax, curve, style, aside)
        if curve.reached:
            _step(ax, curve, style, 1.08 * top)
        if end is not None:
            ends.append((end, shortened(curve.name), style.color))
    spread(ax, ends)
    return to_svg(fig, "budget", _budget_alt(curves))


def part_bars(result: Result, attack: str, how: str, name: str) -> str:
    """Draw the effect of each part of an attack's δ alone, or of δ without it.

    Each part has a bar for recovery and, where texts were generated, one for base-like texts, with
    their intervals; the first pair is for the whole δ. Beside each name is the mean norm of what
    was replayed, in multiples of δ's.

    Args:
        how: `alone` or `without`.
        name: the name of the figure; unique in the page.

    Returns:
        An `<svg>` element with alt text; the same result gives the same bytes.
    """
    shown = bars(result, attack, how)
    base_like = any(bar.base_like for bar in shown)
    fig, ax = axes(height=0.9 + (0.56 if base_like else 0.4) * len(shown))
    ax.set_ylabel("")
    ax.set_xlim(0, 1.02)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    ax.set_xlabel(f"share of valid flips; {HOW[how].lower()}")
    ax.set_ylim(len(shown) - 0.5, -0.5)
    lengths = [f"\n{figure(bar.length)} × δ" if bar.length is not None else "" for bar in shown]
    labels = [
        f"{'without ' if how == 'without' and i else ''}{bar.label}{length}"
        for i, (bar, length) in enumerate(zip(shown, lengths, strict=True))
    ]
    ax.set_yticks(range(len(shown)), labels, fontsize=9)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    height = 0.32 if base_like else 0.5
    kinds = [("recovered", -0.5 if base_like else 0.0, _COLORS[0], "")]
    kinds += [("base-like", 0.5, _COLORS[1], "////")] if base_like else []
    for kind, side, color, hatch in kinds:
        rates = [bar.recovered if kind == "recovered" else bar.base_like for bar in shown]
        for at, rate in enumerate(rates):
            if rate is None or rate.value is None:
                continue
            y = at + side * (height + 0.04)
            # Hatched, so that the two differ without color; the outline makes a bar of 0 visible.
            ax.barh(
                y, rate.value, height, facecolor="none" if hatch else color, edgecolor=color,
                hatch=hatch, linewidth=1, label=kind if at == 0 else None, zorder=2,
            )  # fmt: skip
            if rate.low is not None and rate.high is not None:
                ends = [max(rate.value - rate.low, 0.0)], [max(rate.high - rate.value, 0.0)]
                ax.errorbar(
                    rate.value, y, xerr=ends, fmt="none", ecolor=_INK, elinewidth=1, capsize=2.5,
                    zorder=3,
                )  # fmt: skip
    if base_like:
        ax.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, labelcolor=_INK,
            borderaxespad=0.2,
        )  # fmt: skip
    said = [
        f"{bar.label}: {percent(bar.recovered.value if bar.recovered else None)} recovered"
        + (f", {percent(bar.base_like.value)} base-like" if bar.base_like else "")
        for bar in shown
    ]
    return to_svg(
        fig, name, alt(f"Parts of the δ of {clean_line(attack)}: {HOW[how].lower()}.", said)
    )


def _finite(point: Point) -> bool:
    return math.isfinite(point.limit)


def _outcomes(result: Result) -> dict[tuple[str, str], AttackResult]:
    attacks = {("attack", name): outcome for name, outcome in result.attacks.items()}
    controls = {("control", name): outcome for name, outcome in result.controls.items()}
    return {**attacks, **controls}


def _points(outcome: AttackResult, metric: str) -> list[tuple[float, float, float | None]]:
    """List (drift, recovered share, limit) where both figures are defined."""
    found = []
    for budget in outcome.budgets:
        drift, rate = budget.metrics.get(metric), budget.metrics.get("recovery_rate")
        if drift and rate and drift.value is not None and rate.value is not None:
            found.append((drift.value, rate.value, budget.limit))
    return found


def styles(result: Result) -> dict[str, Style]:
    attacks = {
        name: Style(_COLORS[i % len(_COLORS)], _MARKERS[i % len(_MARKERS)], False)
        for i, name in enumerate(result.attacks)
    }
    controls = {
        name: Style(_CONTROL, _MARKERS[(i + len(attacks)) % len(_MARKERS)], True)
        for i, name in enumerate(result.controls)
    }
    return {**controls, **attacks}


def axes(height: float = _SIZE[1]) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    fig = Figure(figsize=(_SIZE[0], height), layout="constrained")
    ax = fig.add_subplot()
    # Transparent, for a light or a dark page.
    fig.patch.set_visible(False)
    ax.patch.set_visible(False)
    ax.set_ylim(-0.02, 1.04)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_ylabel("recovered", color=_INK)
    ax.xaxis.label.set_color(_INK)
    ax.grid(color=_CONTROL, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_CONTROL)
    ax.tick_params(colors=_INK, color=_CONTROL, labelcolor=_INK)
    return fig, ax


def _decades(ax: Axes, threshold: float, top: float) -> None:
    """Set ticks at 0 and at powers of ten, at most seven in all."""
    from matplotlib.ticker import NullLocator

    first, last = round(math.log10(threshold)), math.ceil(math.log10(top))
    every = max(1, math.ceil((last - first + 1) / 6))
    ticks = [0.0, *(10.0**power for power in range(first, last + 1, every))]
    labels = ["0", *(figure(tick).replace("1.0e", "1e") for tick in ticks[1:])]
    ax.set_xticks(ticks, labels)
    ax.xaxis.set_minor_locator(NullLocator())


def _draw(ax: Axes, curve: Curve, style: Style, aside: float) -> float | None:
    """Draw the points and whiskers of a curve; return the share at its end, or None without points."""
    from matplotlib.transforms import ScaledTranslation

    shown = [p for p in curve.points if _finite(p) and p.share.value is not None]
    if not shown:
        return None
    moved = ax.transData + ScaledTranslation(aside / 72, 0, ax.figure.dpi_scale_trans)
    x = [p.limit for p in shown]
    y = [p.share.value or 0.0 for p in shown]
    whiskers = [
        [share - (p.share.low or 0.0) for p, share in zip(shown, y, strict=True)],
        [(p.share.high or 0.0) - share for p, share in zip(shown, y, strict=True)],
    ]
    # Rounding can put an end of the Wilson interval on the wrong side of the share.
    whiskers = [[max(length, 0.0) for length in lengths] for lengths in whiskers]
    ax.errorbar(x, y, yerr=whiskers, **style.line, elinewidth=1, capsize=2.5, transform=moved)
    return y[-1]


def _step(ax: Axes, curve: Curve, style: Style, until: float) -> None:
    x = [0.0, *(reached for reached, _ in curve.reached), until]
    y = [0.0, *(share for _, share in curve.reached), curve.reached[-1][1]]
    ax.step(x, y, where="post", color=style.color, linewidth=1, alpha=0.8)


def _drift_alt(series: dict[tuple[str, str], list[tuple[float, float, float | None]]]) -> str:
    said = []
    for (kind, name), points in series.items():
        drift, share, limit = points[-1]
        said.append(
            f"{kind} {clean_line(name)}{'' if limit is None else f' at norm {norm(limit)}'}: "
            f"{percent(share)} recovered, drift {figure(drift)}"
        )
    return alt("Recovered share against drift.", said)


def _budget_alt(curves: tuple[Curve, ...]) -> str:
    said = []
    for curve in curves:
        at = [f"{percent(p.share.value)} at {figure(p.limit)}" for p in curve.points if _finite(p)]
        said.append(f"{curve.kind} {clean_line(curve.name)}: {enumerated(at)}")
    return alt("Recovered share against the norm budget.", said)


def alt(first: str, said: list[str]) -> str:
    return f"{first} {'; '.join(said)}." if said else f"{first} There are no figures to draw."


def to_svg(fig: Figure, name: str, alt: str) -> str:
    """Write a figure as a self-contained element that can share a page with others."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Text stays text: it takes the page's font, can be searched and can be read aloud.
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        FigureCanvasSVG(fig).print_svg(out, metadata=nothing)  # type: ignore[no-untyped-call]
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Ids are shared by the whole page.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(_INK, "currentColor")
    head = (
        f'<svg role="img" aria-label="{escape(alt)}" stroke-linejoin="round" stroke-linecap="butt" '
    )
    return head + svg.removeprefix("<svg ")
