"""A made-up run: 70 valid flips, two attacks, two controls, plausible figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recoverdsl.language.schema import Bootstrap, Expectation, Wilson
from recoverdsl.measure.checks import CHECKS, Evidence, flags
from recoverdsl.measure.results import Counts, Input, Result, SpecIdentity
from recoverdsl.measure.rows import ExampleRow
from recoverdsl.measure.summary import Planned, judge, summarize
from recoverdsl.measure.table import to_frame
from tests.rows import example_row

SPEC = """recoverdsl 1

audit "Does clamping IOI features stop indirect-object identification?"

intervene clamp { set = ioi_features  to = -5.0  when = active }

attack projected { maximize = names_the_recipient  limit = norm <= [2, 5, 10, 20] }

expect recovery_rate(projected) <= 5%
"""


def planted_rows(n: int = 70, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    needed = np.exp(rng.normal(np.log(5), 0.5, n)).clip(1, 19)
    rows = []
    for i in range(n):
        for name, factor, drift, again in (
            ("unconstrained", 0.8, 0.33, 0.03),
            ("projected", 1.0, 1.5e-6, 0.0),
        ):
            for limit in (2.0, 5.0, 10.0, 20.0):
                if name == "projected" and i == 3 and limit == 20.0:
                    rows.append(
                        example_row(example=str(i), kind="attack", name=name, limit=limit,
                                    failed="the perturbation became infinite")
                    )  # fmt: skip
                    continue
                back = bool(needed[i] * factor <= limit)
                share = again * rng.random()
                rows.append(
                    _row(i, "attack", name, limit, back, drift * (0.5 + rng.random()), share)
                )
            rows.append(
                _row(i, "smallest_norm", name, 20.0, True, drift, 0.0, norm=needed[i] * factor)
            )
        for name, odds in (("noise", 0.02), ("unrelated", 0.06)):
            for limit in (2.0, 5.0, 10.0, 20.0):
                back = bool(rng.random() < odds * limit / 20)
                drift = limit / 100 * (0.5 + rng.random())
                rows.append(_row(i, "control", name, limit, back, drift, 0.02 * rng.random()))
    return to_frame(rows)


def _row(
    i: int, kind: str, name: str, limit: float, recovered: bool, drift: float, again: float,
    norm: float | None = None,
) -> ExampleRow:  # fmt: skip
    return example_row(example=str(i), kind=kind, name=name, limit=limit, recovered=recovered, score_base=2.0, score_defended=-1.0, score_recovered=1.0 if recovered else -0.5, steps=40, norm=norm or limit, relative_norm=limit / 100, activation_drift=drift * 300, decode_drift=drift * 250, drift=drift, clamp_floor_violation=drift / 2, reactivated_fraction=again, zero_reactivation=again < 0.01, violation=1e-8)  # fmt: skip


def planted_result(rows: pd.DataFrame, *, audit: str | None = None) -> Result:
    limits = (2.0, 5.0, 10.0, 20.0)
    summary = summarize(
        rows,
        {"recovery_rate": Wilson(), "drift": Bootstrap(resamples=200)},
        attacks={
            "unconstrained": Planned(limits),
            "projected": Planned(limits, preserve="orthogonal"),
        },
        controls={
            "noise": Planned(limits, of="projected", method="random_direction"),
            "unrelated": Planned(limits, of="projected", method="another_example"),
        },
    )
    expects = (
        Expectation(
            "recovery_rate", "projected", None, "<=", 0.05, "recovery_rate(projected) <= 5%"
        ),
        Expectation("drift", "projected", None, "<=", 0.001, "drift(projected) <= 0.001"),
        Expectation("smallest_norm", "noise", None, ">=", 20.0, "smallest_norm(noise) >= 20"),
    )
    found = flags(Evidence(rows, summary.attacks, summary.controls))
    return Result(
        spec=SpecIdentity(
            "ioi.rec",
            "3f" * 32,
            audit or "Does clamping IOI features stop indirect-object identification?",
        ),
        counts=Counts(128, 126, 70, summary.failed),
        attacks=summary.attacks,
        controls=summary.controls,
        expectations=judge(expects, summary),
        inputs=(
            Input("smollm2", "model", "ab" * 32),
            Input("mid", "sae", "cd" * 32),
            Input("prompts", "data", "ef" * 32),
        ),
        intervals=summary.intervals,
        checks=tuple(CHECKS),
        flags=found,
        environment={
            "versions": {"torch": "2.13.0", "recoverdsl": "0.1.0"},
            "device": "cpu",
            "threads": 2,
            "dtype": "float32",
        },
    )


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    return planted_rows()


@pytest.fixture(scope="session")
def result(rows: pd.DataFrame) -> Result:
    return planted_result(rows)


@pytest.fixture(scope="session")
def spec() -> str:
    return SPEC
