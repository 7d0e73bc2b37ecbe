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
    aggregate: Literal["mean", "max"] = "mean"
    generated: bool = False
    """Only of a text that a behavior generates."""


METRICS: dict[str, Metric] = {
    "recovery_rate": Metric("Share of valid flips whose behavior is back.", True, "fraction", "recovery"),
    "zero_reactivation_recovery": Metric(
        "Share of valid flips recovered with no protected feature above zero that was not so when defended; "
        "where a text is judged, neither on the target nor in what was written.",
        True, "fraction", "zero-reactivation recovery",
    ),
    "base_like_rate": Metric(
        "Share of valid flips whose text is back and close to the base answer.",
        True, "fraction", "base-like", generated=True,
    ),
    "strict_base_like_rate": Metric(
        "Share of valid flips whose text is back and, by tighter thresholds, close to the base answer.",
        True, "fraction", "strict base-like", generated=True,
    ),
    "degenerate_rate": Metric(
        "Share of valid flips whose text is degenerate: too short, or repeating itself.",
        True, "fraction", generated=True,
    ),
    "activation_drift": Metric("‖z_rec − z_def‖₂ over the protected features.", unit="activation", source="C2"),
    "decode_drift": Metric("‖D_S(z_rec − z_def)‖₂ in the residual stream.", unit="residual stream", source="C3"),
    "drift": Metric(
        "Relative drift: ‖z_rec − z_def‖₂ / ‖z_def‖₂; 0 when both are 0, undefined when only ‖z_def‖ is.",
        unit="fraction", source="defended-feature drift",
    ),
    "clamp_floor_violation": Metric(
        "‖max(z_def − z_rec, 0)‖₂ / ‖z_def‖₂: how far features were pushed below the clamp.",
        unit="fraction", source="clamp-floor violation",
    ),
    "generated_drift": Metric(
        "Relative drift on the text actually generated, against the defended model on the same tokens.",
        unit="fraction", generated=True,
    ),
    "generated_clamp_floor_violation": Metric(
        "Clamp-floor violation on the text actually generated, against the defended model on the same tokens.",
        unit="fraction", generated=True,
    ),
    "reactivated_fraction": Metric(
        "Share of protected features that were ≤ 0 when defended and are > 0 when recovered.",
        unit="fraction", source="reactivated fraction",
    ),
    "norm": Metric("‖δ‖_F.", unit="residual stream", source="C4"),
    "relative_norm": Metric("‖δ‖_F / ‖h_def‖_F at the perturbed positions.", unit="fraction", source="relative norm"),
    "violation": Metric(
        "Largest |A_Sᵀδ| / (‖A_S‖ ‖δ‖) over all examples.", unit="fraction", source="C1", aggregate="max"
    ),
    "smallest_norm": Metric(
        "The least norm that reaches the attack's own goal, over examples where one does: the behavior's score, "
        "or, where a text is judged, every token of the target the most likely one.",
        unit="residual stream",
    ),
    "budget_ratio": Metric(
        "For a control with another target: the smallest norm that reaches it over the smallest that reaches the base answer, "
        "per example; one that was not reached counts with the largest norm that was tried."
    ),
    "steps": Metric("Optimization steps until the behavior was back.", unit="steps"),
    "gradient_steps": Metric("Gradients taken for an example.", unit="gradients"),
    "forward_passes": Metric("Forward passes spent on an example.", unit="passes"),
}  # fmt: skip
