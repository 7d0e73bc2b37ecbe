"""The violation of the constraint is reported in the description of the attack."""

from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import AttackResult
from recoverdsl.report.sentences import attack_sentence


def attack(preserve: str | None) -> AttackResult:
    metrics = {"violation": Estimate(4.9e-9, None, None, 71)}
    return AttackResult(metrics, 20.0, (), preserve=preserve)


def test_an_orthogonal_attack_reports_its_violation() -> None:
    assert "encoder of one clamped feature is 4.9e-9; 0 is exact" in attack_sentence(
        attack("orthogonal")
    )


def test_an_attack_without_a_constraint_reports_none() -> None:
    assert "cosine" not in attack_sentence(attack(None))
