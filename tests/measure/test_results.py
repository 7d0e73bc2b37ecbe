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
from recoverdsl.measure import expectation, results, verdict
from recoverdsl.measure.cautions import Caution
from recoverdsl.measure.damage import Damage, Moved
from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.protected_features import ProtectedFeature, ProtectedFeatures
from recoverdsl.measure.results import (
    SCHEMA,
    AttackResult,
    BudgetResult,
    ClampedBehavior,
    ClampResult,
    ControlResult,
    Counts,
    Input,
    IntervalUsed,
    PartResult,
    Result,
    SpecIdentity,
    TargetBefore,
    from_json,
    to_json,
)
from recoverdsl.measure.verdict import Flag
from recoverdsl.sources.sae_lens_table import NEURONPEDIA
from tests.measure.judgments import judged

FORMER = Path(__file__).with_name("former")
"""Files of a run, and of a sweep, that the version with the former schemas wrote."""

GOLDEN = Path(__file__).with_name("result.golden.json")


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
                under="strong",
            )
        },
        controls={
            "noise": ControlResult(
                low,
                None,
                (BudgetResult(None, low),),
                under="strong",
                of="projected",
                method="random_direction",
            )
        },
        expectations=(judged("broken"), judged("undecided", by="estimate", value=None, n=0)),
        inputs=(Input("mid", "sae", "abcd"),),
        behaviors={"names_it": Counts(64, 60, 35, 1), "says_it": Counts(64, 20, 4, 0)},
        clamps={
            "strong": ClampResult(
                {
                    "names_it": ClampedBehavior(
                        Counts(64, 60, 35, 1), TargetBefore(60, 1.0, 147.0, 0.5, 0.001)
                    ),
                    "says_it": ClampedBehavior(Counts(64, 20, 4, 0)),
                }
            )
        },
        attributions={
            "projected": (PartResult("clamped", "alone", low), PartResult("5", "without", rate))
        },
        intervals={"recovery_rate": IntervalUsed("wilson", 0.95)},
        protected={
            "clamp": ProtectedFeatures(
                "chosen",
                "attribution(names_it)",
                "every_token except first",
                "active",
                64,
                900,
                (
                    ProtectedFeature(
                        "mid", 12, 1, 0.5, 300, 2.5, 0.0, 0.75, f"{NEURONPEDIA}a/b/12"
                    ),
                    ProtectedFeature("mid", 7, 2, 0.25, 0, None, None, 0.0),
                ),
            )
        },
        checks=("beaten_by_control", "starved"),
        flags=(Flag("starved", "flag", "projected", 0.05, "At norm 20 …", 20.0),),
        damage={
            "clamp": Damage(
                Estimate(0.2, 0.1, 0.3, 40),
                20.0,
                25.0,
                40,
                3000,
                0,
                Moved(0.5, 1.2, 80, 90),
                Moved(None, None, 0, 90),
                "0f0f",
            )
        },
        cautions=(Caution("changes_ordinary_text", "clamp", 0.2, "The clamp clamp …"),),
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


def test_a_result_without_protected_features_is_still_read() -> None:
    old = json.loads(GOLDEN.read_text(encoding="utf-8"))
    del old["protected"]
    assert from_json(json.dumps(old)) == attrs.evolve(example(), protected={})


def test_a_result_that_names_no_clamp_is_still_read() -> None:
    old = json.loads(GOLDEN.read_text(encoding="utf-8"))
    del old["clamps"]
    for outcome in (*old["attacks"].values(), *old["controls"].values()):
        del outcome["under"]
    read = from_json(json.dumps(old))
    assert read.clamps == {}
    assert read.attacks["projected"].under is None
    assert read.counts == example().counts


def test_a_result_without_side_effects_is_still_read() -> None:
    old = json.loads(GOLDEN.read_text(encoding="utf-8"))
    del old["damage"], old["cautions"]
    read = from_json(json.dumps(old))
    assert (read.damage, read.cautions) == ({}, ())
    assert attrs.evolve(example(), damage={}, cautions=()) == from_json(to_json(read))


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


def test_the_verdict_is_stored_and_must_be_that_of_the_expectations() -> None:
    read = json.loads(to_json(example()))
    assert read["verdict"] == "does_not_hold"
    read["verdict"] = "holds"
    with pytest.raises(UsageError, match="another structure") as caught:
        from_json(json.dumps(read))
    assert "expected the verdict 'does_not_hold'" in str(caught.value)


def test_a_former_result_is_read_with_the_outcomes_that_it_had() -> None:
    text = (FORMER / "result.json").read_text("utf-8")
    former, result = json.loads(text), from_json(text)
    assert former["schema"] == "recoverdsl/result/1"
    assert [e["passed"] for e in former["expectations"]] == [True, True, False, True, True, True]
    assert [e.outcome for e in result.expectations] == ["met", "met", "broken", "met", "met", "met"]
    assert [e.by for e in result.expectations] == [*["estimate"] * 4, "value", "estimate"]
    at_4 = result.expectations[2]
    rate = result.attacks["projected"].at(4.0)["recovery_rate"]
    assert (at_4.value, at_4.low, at_4.high, at_4.n) == (rate.value, rate.low, rate.high, rate.n)
    assert (result.schema, result.verdict) == (SCHEMA, "does_not_hold")
    assert (result.checks, result.flags) == ((), ())
    assert from_json(to_json(result)) == result


def test_a_former_result_with_an_undefined_figure_is_inconclusive() -> None:
    read = json.loads((FORMER / "result.json").read_text("utf-8"))
    read["expectations"][2] |= {"passed": None, "value": None, "norm": 7.0}
    result = from_json(json.dumps(read))
    assert result.verdict == "inconclusive"
    undefined = result.expectations[2]
    assert (undefined.outcome, undefined.n, undefined.low) == ("undecided", 0, None)
    assert undefined.reason == "the figure is undefined"


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"schema": "recoverdsl/result/3"}', f'{{"schema": "{SCHEMA}"}}',
        '{"schema": "recoverdsl/result/1"}', '{"schema": "recoverdsl/result/1", "expectations": [3]}',
    ],
)  # fmt: skip
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
    modules = (results, expectation, verdict)
    for cls in (node for module in modules for node in ast.parse(inspect.getsource(module)).body):
        if isinstance(cls, ast.ClassDef):
            for statement, following in zip(cls.body, [*cls.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign):
                    assert isinstance(following, ast.Expr), ast.unparse(statement)
