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


METRICS: dict[str, Metric] = {
    "recovery_rate": Metric("Share of valid flips whose behavior is back.", True, "fraction", "recovery"),
    "zero_reactivation_recovery": Metric(
        "Share of valid flips recovered with no protected feature above zero that was not so when defended.",
        True, "fraction", "zero-reactivation recovery",
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
    "reactivated_fraction": Metric(
        "Share of protected features that were ≤ 0 when defended and are > 0 when recovered.",
        unit="fraction", source="reactivated fraction",
    ),
    "norm": Metric("‖δ‖_F.", unit="residual stream", source="C4"),
    "relative_norm": Metric("‖δ‖_F / ‖h_def‖_F at the perturbed positions.", unit="fraction", source="relative norm"),
    "violation": Metric(
        "Largest |A_Sᵀδ| / (‖A_S‖ ‖δ‖) over all examples.", unit="fraction", source="C1", aggregate="max"
    ),
    "smallest_norm": Metric("The least norm that recovers, over examples that recover.", unit="residual stream"),
    "steps": Metric("Optimization steps until the behavior was back.", unit="steps"),
}  # fmt: skip
