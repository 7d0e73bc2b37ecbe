"""The parts of a δ, each replayed alone, and δ without each of them, as text."""

from __future__ import annotations

from attrs import frozen

from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import PartResult, Result
from recoverdsl.report.cells import generates, value_of
from recoverdsl.report.words import NOTHING, figure, interval, percent

HOW = {"alone": "Each part alone", "without": "δ without each part"}
"""What is replayed, in words."""

EXPLANATION = (
    "δ is split at each site by its effect on the SAE. Clamped features: the change of their "
    "activations, decoded. Other features: the same for all others; the top ones are among these. "
    "SAE residual: the rest, which the SAE does not reconstruct. These three sum to δ. "
    "They are not orthogonal: a part may be longer than δ, and parts may cancel. "
    "The norm is the mean norm of what is replayed, in multiples of δ's."
)
"""The definition of the parts."""

_LABELS = {
    "clamped": "clamped features", "other_features": "other features", "residual": "SAE residual",
}  # fmt: skip


@frozen
class Bar:
    """The outcome of replaying one part, or of replaying δ without it."""

    label: str
    recovered: Estimate | None
    base_like: Estimate | None
    """Rate of base-like texts; None where no text was judged."""
    length: float | None
    """Mean norm over that of δ."""

    @property
    def cells(self) -> tuple[str, str, str]:
        """Norm, recovered and base-like."""
        return figure(self.length), _rate(self.recovered), _rate(self.base_like)


def bars(result: Result, attack: str, how: str) -> tuple[Bar, ...]:
    """Return a bar for the whole δ of an attack, then one for each part in the order of the spec."""
    outcome = result.attacks.get(attack)
    whole = dict(outcome.metrics) if outcome else {}
    norm = value_of(whole, "norm")
    base_like = generates(result)

    def bar(label: str, metrics: dict[str, Estimate]) -> Bar:
        own = value_of(metrics, "norm")
        return Bar(
            label,
            metrics.get("recovery_rate"),
            metrics.get("base_like_rate") if base_like else None,
            own / norm if own is not None and norm else None,
        )

    return (
        bar("whole δ", whole),
        *(
            bar(label(part), part.metrics)
            for part in result.attributions[attack]
            if part.how == how
        ),
    )


def label(part: PartResult) -> str:
    """Name a part, such as `SAE residual` or `top 5 other features`."""
    return _LABELS.get(part.part, f"top {part.part} other features")


def rows(result: Result, attack: str) -> list[list[str]]:
    """Return a line per part: its name, then norm, recovered and base-like of the part alone and of δ
    without it.

    Base-like is left out where no text was judged.
    """
    left = slice(None) if generates(result) else slice(2)
    alone, without = (bars(result, attack, how) for how in HOW)
    nothing = [NOTHING] * len(alone[0].cells[left])
    lines = [[alone[0].label, *alone[0].cells[left], *nothing]]
    lines += [
        [one.label, *one.cells[left], *other.cells[left]]
        for one, other in zip(alone[1:], without[1:], strict=True)
    ]
    return lines


def headings(result: Result) -> list[str]:
    """Return the headings of `rows`."""
    of = ["norm, × δ", "recovered", "base-like"][: 3 if generates(result) else 2]
    return ["part", *of, *(f"{heading}, without" for heading in of)]


def _rate(rate: Estimate | None) -> str:
    if rate is None or rate.value is None:
        return NOTHING
    between = interval(rate)
    return f"{percent(rate.value)} [{between}]" if between else percent(rate.value)
