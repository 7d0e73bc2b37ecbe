"""The written form of a result: the golden file, reading it back, and texts that are refused."""

from __future__ import annotations

import ast
import inspect
import json
import math
from pathlib import Path

import attrs
import pytest

from recoverdsl.errors import UsageError
from recoverdsl.measure import results
from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import (
    SCHEMA,
    AttackResult,
    BudgetResult,
    ControlResult,
    Counts,
    ExpectationResult,
    Input,
    IntervalUsed,
    PartResult,
    Result,
    SpecIdentity,
    from_json,
    to_json,
)

GOLDEN = Path(__file__).with_name("result.golden.json")


def judged(passed: bool | None) -> ExpectationResult:
    value = None if passed is None else 1.0
    return ExpectationResult(
        "recovery_rate(projected) <= 5%", value, passed, "recovery_rate", "projected", None, "<=", 0.05
    )  # fmt: skip


def example() -> Result:
    rate = {
        "recovery_rate": Estimate(1.0, 0.9, 1.0, 35),
        "violation": Estimate(1e-8, None, None, 35),
    }
    low = {"recovery_rate": Estimate(0.5, 0.3, 0.7, 34), "drift": Estimate(None, None, None, 0)}
    return Result(
        spec=SpecIdentity("ioi.rec", "00ff", "Does it hold? — δ"),
        counts=Counts(64, 60, 35, 1),
        attacks={
            "projected": AttackResult(
                rate,
                20.0,
                (BudgetResult(5.0, low), BudgetResult(20.0, rate)),
                "orthogonal",
                "names_it",
            )
        },
        controls={
            "noise": ControlResult(
                low, None, (BudgetResult(None, low),), of="projected", method="random_direction"
            )
        },
        expectations=(judged(False),),
        inputs=(Input("mid", "sae", "abcd"),),
        behaviors={"names_it": Counts(64, 60, 35, 1), "says_it": Counts(64, 20, 4, 0)},
        attributions={
            "projected": (PartResult("clamped", "alone", low), PartResult("5", "without", rate))
        },
        intervals={"recovery_rate": IntervalUsed("wilson", 0.95)},
        environment={"threads": 2, "device": "cpu", "versions": {"torch": "2", "attrs": "24"}},
    )


def test_a_result_without_behaviors_is_still_read() -> None:
    old = json.loads(GOLDEN.read_text(encoding="utf-8"))
    del old["behaviors"]
    for outcome in (*old["attacks"].values(), *old["controls"].values()):
        del outcome["behavior"]
    read = from_json(json.dumps(old))
    assert read.behaviors == {}
    assert read.attacks["projected"].behavior is None
    assert read.counts == example().counts


def test_golden() -> None:
    assert to_json(example()) == GOLDEN.read_text(encoding="utf-8")


def test_the_way_back() -> None:
    text = to_json(example())
    assert from_json(text) == example()
    assert to_json(from_json(text)) == text


def test_not_a_number_is_never_written() -> None:
    odd = attrs.evolve(example(), environment={"x": [math.nan, {"y": math.inf}]})
    odd.attacks["projected"].metrics["drift"] = Estimate(math.nan, -math.inf, math.inf, 1)
    text = to_json(odd)
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["environment"] == {"x": [None, {"y": None}]}


@pytest.mark.parametrize(
    ("passed", "verdict"),
    [
        ([], "not judged"),
        ([True, True], "holds"),
        ([True, None], "undefined"),
        ([True, None, False], "does not hold"),
    ],
)
def test_verdict(passed: list[bool | None], verdict: str) -> None:
    result = attrs.evolve(example(), expectations=tuple(judged(p) for p in passed))
    assert result.verdict == verdict


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "recoverdsl/result/2"}', f'{{"schema": "{SCHEMA}"}}']
)
def test_text_that_is_not_a_result_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        from_json(text)


def test_what_is_missing_is_named() -> None:
    read = json.loads(to_json(example()))
    del read["counts"]
    with pytest.raises(UsageError) as caught:
        from_json(json.dumps(read))
    assert SCHEMA in str(caught.value)
    assert "KeyError: 'counts'" in str(caught.value)


def test_every_field_is_documented() -> None:
    for cls in ast.parse(inspect.getsource(results)).body:
        if isinstance(cls, ast.ClassDef):
            for statement, following in zip(cls.body, [*cls.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign):
                    assert isinstance(following, ast.Expr), ast.unparse(statement)
