"""What else the budget of an attack writes: its recovery beside that of unrelated targets, in sentences."""

from __future__ import annotations

from recoverdsl.measure.paired_difference import PairedDifference
from recoverdsl.measure.results import Result
from recoverdsl.report.words import clean_line, norm

_TARGETS = {
    "another_row": "the target with the values of another example",
    "another_example": "another example's answer",
    "another_behavior": "another behavior",
}


def specificity(result: Result) -> list[str]:
    """List a sentence for each attack and control of another target that were compared."""
    sentences = []
    for one in result.specificities:
        pairs = [pair for pair in one.budgets if pair.n]
        if not pairs:
            continue
        at = pairs[-1]
        text = (
            f"{_at(at, begins=True)} {clean_line(one.attack)} recovers {at.own} of {at.n}, and the same "
            f"search reaches {_TARGETS[one.method]} ({clean_line(one.control)}) in {at.other}: {_points(at)}."
        )
        if one.best is not None and one.best.difference:
            text += (
                f" By the least norms of each, the two differ most {_at(one.best)}: {one.best.own} "
                f"against {one.best.other} of {one.best.n}, {_points(one.best)}; p = {one.best.p:.2g} for the "
                "largest difference at any norm, if both were as easy to reach."
            )
        sentences.append(text)
    return sentences


def _points(pair: PairedDifference) -> str:
    assert pair.difference is not None and pair.low is not None and pair.high is not None
    size, low, high = (round(100 * share) for share in (pair.difference, pair.low, pair.high))
    more = f"{size} points more" if size > 0 else f"{-size} points fewer" if size else "no more"
    return f"{more} [{low} to {high}]".replace("-", "−")


def _at(pair: PairedDifference, *, begins: bool = False) -> str:
    if pair.norm is None:
        return "Without a limit" if begins else "without a limit"
    return f"{'At' if begins else 'at'} norm {norm(pair.norm)}"
