"""Placement of a figure's labels beside their points, without overlap."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in pixels."""


def place(
    ax: Axes,
    labels: Iterable[tuple[float, float, str, str, float]],
    *,
    avoid: Iterable[tuple[float, float]],
) -> None:
    """Write each label (x, y, text, color, size in points) beside its point.

    The places right, left, above and below are tried in turn, then the same farther out; the first
    place is taken that covers no point in `avoid` and no other label, and lies inside the axes.
    """
    pixel = ax.figure.dpi / 72
    ax.figure.canvas.draw()
    edge = ax.bbox
    # Wider than a marker, so that no label seems to belong to another point.
    around = 7 * pixel
    taken: list[Box] = [
        (px - around, py - around, px + around, py + around)
        for px, py in map(ax.transData.transform, avoid)
    ]
    for x, y, text, color, size in labels:
        px, py = ax.transData.transform((x, y))
        width, height = _extent(text, size * pixel)
        choices = []
        for gap in (8 * pixel, 14 * pixel, 22 * pixel, 32 * pixel):
            half_w, half_h = width / 2, height / 2
            choices += [
                (gap, -half_h),
                (-gap - width, -half_h),
                (-half_w, gap),
                (-half_w, -gap - height),
                (gap * 0.7, gap * 0.7),
                (-gap * 0.7 - width, gap * 0.7),
            ]
        boxes = [(px + dx, py + dy, px + dx + width, py + dy + height) for dx, dy in choices]
        free = (
            i
            for i, box in enumerate(boxes)
            if box[0] >= edge.x0
            and box[2] <= edge.x1
            and box[1] >= edge.y0
            and not any(_overlap(box, other) for other in taken)
        )
        best = next(free, 0)
        taken.append(boxes[best])
        dx, dy = choices[best]
        ax.annotate(
            text,
            (x, y),
            xytext=(dx / pixel, (dy + height / 2) / pixel),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=size,
            # Far from its point, a label needs a line to it.
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6} if best > 5 else None,
            parse_math=False,
            annotation_clip=False,
        )


def spread(ax: Axes, ends: Iterable[tuple[float, str, str]], top: float = 1.0) -> None:
    """Write each label (y, text, color) to the right of the axes, at or near its height.

    Args:
        top: the height of the axes, from 0.
    """
    gap = 0.065 * top
    ordered = sorted(ends)
    heights: list[float] = []
    for y, _, _ in ordered:
        heights.append(max(y, heights[-1] + gap) if heights else y)
    # Labels that were pushed past the top move down as far as needed.
    for i in reversed(range(len(heights))):
        highest = heights[i + 1] - gap if i + 1 < len(heights) else top
        heights[i] = min(heights[i], highest)
    for (y, text, color), height in zip(ordered, heights, strict=True):
        ax.annotate(
            text,
            (1, y),
            xytext=(1.02, height),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            va="center",
            color=color,
            parse_math=False,
            annotation_clip=False,
        )


def _extent(text: str, pixels: float) -> tuple[float, float]:
    # The page's font is unknown here; this is about the widest of the usual ones.
    return 0.62 * pixels * max(len(text), 1), 1.2 * pixels


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
