"""The figures that `measure` and `expect` name."""

from __future__ import annotations

from typing import Literal

from attrs import frozen


@frozen
class Metric:
    """A figure over valid flips, as `measure` and `expect` name it."""

    doc: str
    rate: bool = False
    """A share of examples, which takes a Wilson interval; the others take a bootstrap."""
    unit: str | None = None
    source: str | None = None
    aggregate: Literal["mean", "median", "max"] = "mean"
    generated: bool = False
    """Only of a text that a behavior generates."""
    over: str = "the valid flips for which the attack did not fail"
    """Which examples it divides by, or is the largest of."""
    all_of: tuple[str, ...] = ()
    """Flags of the example table that must all be true for an example to count; for rates."""
    column: str | None = None
    """The column of the example table that it is over, where that has another name."""
    next_token: bool = False
    """Only of a behavior that is about one token after the prompt."""
    recovered_only: bool = False
    """Whether the others have no such figure."""
    search: bool = False
    """Whether it comes from a table of its own, of a search or of further draws, and not from a column of
    its own name."""
    share: bool = False
    """Whether the figure of each example is in [0, 1], and its mean no rate: of such a mean an expectation
    takes a Wilson interval, which is never too narrow."""


_DEFINED = "the valid flips for which it is defined"
_WITH_DELTA = "the valid flips for which δ is searched or drawn; a suffix has none"
_SEARCHED = "the valid flips for which something is searched; a random direction is not"
_TARGETED = (
    "the valid flips for which the attack did not fail, where the behavior has one target token"
)

METRICS: dict[str, Metric] = {
    "recovery_rate": Metric(
        "Share of valid flips whose behavior is back; of random directions, the share of all draws.", True, "fraction", "recovery", all_of=("recovered",)
    ),
    "unconstrained_recovery_rate": Metric(
        "For a control by random directions of an attack with `preserve`: the recovery rate of directions that are drawn "
        "without the constraint, isotropic in the whole space, where those of `recovery_rate` keep it.",
        True, "fraction", search=True,
    ),
    "zero_reactivation_recovery": Metric(
        "Share of valid flips recovered with no protected feature above zero that was not so when defended; "
        "where a text is judged, neither on the target nor in what was written.",
        True, "fraction", "zero-reactivation recovery", all_of=("recovered", "zero_reactivation"),
    ),
    "base_like_rate": Metric(
        "Share of valid flips whose text is back and close to the base answer.",
        True, "fraction", "base-like", generated=True, all_of=("recovered", "base_like"),
    ),
    "strict_base_like_rate": Metric(
        "Share of valid flips whose text is back and, by tighter thresholds, close to the base answer.",
        True, "fraction", "strict base-like", generated=True, all_of=("recovered", "strict_base_like"),
    ),
    "degenerate_rate": Metric(
        "Share of valid flips whose text is degenerate: too short, or repeating itself.",
        True, "fraction", generated=True, all_of=("degenerate",),
    ),
    "activation_drift": Metric("‖z_rec − z_def‖₂ over the protected features.", unit="activation", source="C2"),
    "decode_drift": Metric("‖D_S(z_rec − z_def)‖₂ in the residual stream.", unit="residual stream", source="C3"),
    "drift": Metric(
        "Relative drift: ‖z_rec − z_def‖₂ / ‖z_def‖₂; 0 when both are 0, undefined when only ‖z_def‖ is. "
        "Flips in which no protected feature is active count as 0; `active_drift` leaves them out.",
        unit="fraction", source="defended-feature drift", over=_DEFINED,
    ),
    "active_drift": Metric(
        "Relative drift, ‖z_rec − z_def‖₂ / ‖z_def‖₂, of the flips in which some protected feature is active in the defended state.",
        unit="fraction", source="defended-feature drift", over="the valid flips in which some protected feature is active when defended",
    ),
    "clamp_floor_violation": Metric(
        "‖max(z_def − z_rec, 0)‖₂ / ‖z_def‖₂: how far features were pushed below the clamp.",
        unit="fraction", source="clamp-floor violation", over=_DEFINED,
    ),
    "generated_drift": Metric(
        "Relative drift on the text actually generated, against the defended model on the same tokens.",
        unit="fraction", generated=True, over=_DEFINED,
    ),
    "generated_clamp_floor_violation": Metric(
        "Clamp-floor violation on the text actually generated, against the defended model on the same tokens.",
        unit="fraction", generated=True, over=_DEFINED,
    ),
    "reactivated_fraction": Metric(
        "Share of protected features, each counted at every perturbed position, that were ≤ 0 when defended and are > 0 when recovered.",
        share=True, unit="fraction", source="reactivated fraction",
    ),
    "target_rank": Metric(
        "Rank of the target token among all next tokens, with δ in place; 1 is the most likely. "
        "The target is the token that the behavior names; of a sum of logits, the first that raises it.",
        aggregate="median", over=_TARGETED, column="rank_recovered", next_token=True,
    ),
    "target_probability": Metric(
        "Probability of the target token as the next one, with δ in place.",
        share=True, unit="fraction", over=_TARGETED, column="probability_recovered", next_token=True,
    ),
    "norm": Metric("‖δ‖_F.", unit="residual stream", source="C4", over=_WITH_DELTA),
    "relative_norm": Metric("‖δ‖_F / ‖h_def‖_F, both over the sites and positions where δ is not 0.", unit="fraction", source="relative norm", over=_WITH_DELTA),
    "violation": Metric(
        "How far δ is from orthogonal to the protected features: the largest cosine |A_sᵀδ_p| / (‖A_s‖ ‖δ_p‖) between the δ of "
        "one position and the encoder column of one protected feature of its site, over positions, features and examples.",
        unit="fraction", source="C1", aggregate="max",
        over="those with a δ at a site that has protected features",
    ),
    "smallest_norm": Metric(
        "The least norm that reaches the attack's own goal, over examples where one does: the behavior's score, "
        "or, where a text is judged, every token of the target the most likely one. An expectation is over all examples "
        "that were searched: those where none does count with the largest norm that was tried, as a norm that is at least that.",
        unit="residual stream", over="the valid flips for which the search found one", search=True,
    ),
    "budget_ratio": Metric(
        "For a control with another target: the smallest norm that reaches it over the smallest that reaches the attack's own, "
        "per example; one that was not reached counts with the largest norm that was tried.",
        over="the valid flips whose own target some norm reached", search=True,
    ),
    "specificity": Metric(
        "For an attack: the smallest norm that reaches an unrelated target over the smallest that reaches its own, per example. The "
        "target is that of the control with the values of another example, or else with another behavior; one that was not reached counts "
        "with the largest norm that was tried. Both are the least norms that were found: a search that does badly for the unrelated "
        "target makes it too large.",
        over="the valid flips whose own target some norm reached", search=True,
    ),
    "steps": Metric(
        "Optimization steps until the behavior was back.", unit="steps",
        over="the valid flips that recovered", recovered_only=True,
    ),
    "gradient_steps": Metric("Gradients taken for an example.", unit="gradients", over=_SEARCHED),
    "forward_passes": Metric("Forward passes spent on an example.", unit="passes", over=_SEARCHED),
}  # fmt: skip

RECOVERY = tuple(name for name, metric in METRICS.items() if "recovered" in metric.all_of)
"""The metrics that say how many examples recovered."""


def says_of_recovery(metric: str, operator: str, bound: float) -> bool:
    """Tell whether an expectation says something of how many examples recover, or with which norm; a rate
    of at least 0% or at most 100% says nothing, and neither does a smallest norm of at least 0."""
    if metric == "smallest_norm":
        return bound > 0
    empty = (operator == ">=" and bound <= 0) or (operator == "<=" and bound >= 1)
    return metric in RECOVERY and not empty
