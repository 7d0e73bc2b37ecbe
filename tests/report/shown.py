"""A made-up result in which everything that the head of a report shows is there."""

from __future__ import annotations

from functools import cache

import pandas as pd
from attrs import evolve

from recoverdsl.measure.protected_features import ProtectedFeature, ProtectedFeatures
from recoverdsl.measure.results import Result
from recoverdsl.measure.specificity import specificities
from recoverdsl.measure.summary import Planned, summarize
from recoverdsl.measure.table import to_frame
from recoverdsl.sources.sae_lens_table import NEURONPEDIA
from tests.report.conftest import planted_result, planted_rows
from tests.rows import example_row

LIMITS = (2.0, 5.0, 10.0, 20.0)

SPEC = """recoverdsl 1

audit "Does clamping IOI features stop indirect-object identification?"

model smollm2 { from = folder("model") }

sae mid { from = folder("sae"); reads = smollm2.layers[14].output }

data prompts { from = template("ioi", prompts = 128, seed = 0) }

behavior names_it { holds = top_token == " {io}" }

protect chosen { in = mid; select = features(12, 7) }

intervene clamp { set = chosen; to = -5.0; when = active; at = every_token except first }

attack unconstrained {
  perturb  = mid at last_token
  maximize = names_it
  limit    = norm <= [2, 5, 10, 20]
}

attack projected like unconstrained {
  preserve = orthogonal(chosen)
  steps    = 40
  restarts = 3
}

expect recovery_rate(projected, norm = 5) <= 5%
"""


@cache
def planted() -> tuple[pd.DataFrame, Result]:
    """Return the table of a made-up run, and its result."""
    rows = planted_rows()
    return rows, planted_result(rows)


def unclamped_rows(count: int, limit: float = 5.0, n: int = 70) -> pd.DataFrame:
    """Return the rows of a control without the clamp that reaches its target in `count` of `n` examples."""
    return to_frame(
        [
            example_row(
                example=str(i), kind="control", name="unrelated unclamped", limit=limit, recovered=i < count
            )
            for i in range(n)
        ]
    )  # fmt: skip


@cache
def with_unclamped(count: int | None) -> tuple[Result, pd.DataFrame]:
    """Return a result and its table, whose unrelated target is reached in `count` of 70 examples without the
    clamp at norm 5; None: that was not tried."""
    planned = {"unrelated": Planned(LIMITS, of="projected", method="another_row")}
    rows, result = planted()
    if count is not None:
        rows = pd.concat([rows, unclamped_rows(count)], ignore_index=True)
        planned["unrelated unclamped"] = Planned((5.0,), of="projected", method="another_row_undefended")  # fmt: skip
    summary = summarize(rows, {}, controls=planned)
    first, *others = result.expectations
    return evolve(
        result,
        controls={**result.controls, **{name: summary.controls[name] for name in planned}},
        specificities=specificities(rows, planned, {}),
        expectations=(evolve(first, norm=5.0, text="recovery_rate(projected, norm = 5) <= 5%"), *others),
        protected={"clamp": protected()},
    ), rows  # fmt: skip


def protected(count: int = 2, **changes: object) -> ProtectedFeatures:
    """Return the features of a clamp; the first has a page, and the last is never active."""
    features = tuple(
        ProtectedFeature(
            "mid", 12 - 5 * i, i + 1, 0.5 / (i + 1), 300 - i, 2.5, 0.125, 0.75,
            f"{NEURONPEDIA}a/b/12" if not i else None,
        )
        for i in range(count - 1)
    )  # fmt: skip
    never = ProtectedFeature("mid", 999, count, 0.001, 0, None, None, 0.0)
    of = ProtectedFeatures(
        "chosen", "attribution(names_it, over = ranking_prompts)", "every_token except first", "active",
        128, 1800, (*features, never),
    )  # fmt: skip
    return evolve(of, **changes)
