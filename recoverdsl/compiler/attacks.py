"""Compilation of an attack: the steps that run it, one for each limit of its budget."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, frozen

from recoverdsl.compiler.steps import (
    Behavior,
    Defense,
    Place,
    RandomDirections,
    ReachAnswer,
    ReachBehavior,
    Recover,
    Stage,
    Step,
    Suffix,
)
from recoverdsl.language import schema
from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.budgets import limits_of, suffix_of
from recoverdsl.language.schema.expected_limits import limits_of_expectation
from recoverdsl.measure.keys import Budget, limit_text

STEPS = 100
"""Optimization steps of an attack that sets none (paper: single-layer schedule)."""


@frozen
class AttackStep:
    """A step that runs an attack."""

    key: str
    """The step's key in the graph."""
    limit: float | None
    """The largest norm of δ; None without a δ."""
    step: Recover | Suffix


def attack_steps(
    spec: Spec, name: str, defense: Defense, behavior: Behavior
) -> Iterator[AttackStep]:
    """Yield the steps of an attack, by ascending limit."""
    attack = spec.attacks[name]
    if suffix_of(attack):
        yield AttackStep(f"suffix {name}", None, _suffix(spec, attack, defense, behavior))
        return
    for limit in limits_of(spec, attack):
        step = recover_step(spec, attack, defense, behavior, limit)
        yield AttackStep(f"recover {name} at norm {limit_text(limit)}", limit, step)


def budgets_of(spec: Spec, expectation: schema.Expectation) -> tuple[Budget, ...]:
    """Return the budgets of attacks on which an expectation about recovery rests; none if it is about
    something else."""
    found = limits_of_expectation(spec, expectation)
    return tuple(Budget(at.attack, at.limit, least=at.least) for at in found)


def budgets_of_expectations(spec: Spec) -> list[Budget]:
    """Return the budgets on which the expectations about recovery rest, once each."""
    return list(dict.fromkeys(at for e in spec.expects for at in budgets_of(spec, e)))


def control_step(
    spec: Spec,
    control: schema.Control,
    defense: Defense,
    behavior: Behavior,
    limit: float | None,
    target: ReachBehavior | None,
) -> Step:
    """Return the step that runs a control at one limit of its attack.

    Args:
        limit: None for a suffix, whose only control has the answer of another example as its target.
        target: the goal of a control that has a behavior as its target.
    """
    attack = spec.attacks[control.of]
    if limit is None:
        return evolve(_suffix(spec, attack, defense, behavior), example="another")
    if control.method == "random_direction":
        recover = recover_step(spec, attack, defense, behavior, limit)
        return RandomDirections(_without_search(recover), control.draws, control.seed)
    acting = None if control.on == "undefended" else defense
    recover = recover_step(spec, attack, acting, behavior, limit)
    if isinstance(recover.goal, ReachAnswer):
        return evolve(recover, goal=evolve(recover.goal, example="another"))
    return evolve(recover, goal=target or recover.goal)


def recover_step(
    spec: Spec,
    attack: schema.Attack,
    defense: Defense | None,
    behavior: Behavior,
    limit: float,
) -> Recover:
    """Return the step that searches a δ within a limit."""
    budget = _budget(spec, attack)
    stages = tuple(
        Stage(
            _places(spec, stage.perturb), stage.optimizer or attack.optimizer, stage.steps,
            stage.limit.norms[-1],
        )
        for stage in attack.stages
    ) or (
        Stage(
            _places(spec, attack.perturb), attack.optimizer, attack.steps or budget.steps or STEPS, limit,
        ),
    )  # fmt: skip
    answer = attack.maximize if isinstance(attack.maximize, schema.LogProb) else None
    return Recover(
        defense=defense,
        behavior=behavior,
        stages=stages,
        # Renaming a block must change no digest.
        preserve=attack.preserve and evolve(attack.preserve, protect=""),
        goal=ReachAnswer(tokens=answer.tokens) if answer else ReachBehavior(behavior),
        stop=attack.stop,
        forward_passes=attack.forward_passes or budget.forward_passes,
        restarts=attack.restarts,
    )


def _suffix(spec: Spec, attack: schema.Attack, defense: Defense, behavior: Behavior) -> Suffix:
    budget = _budget(spec, attack)
    assert isinstance(attack.maximize, schema.LogProb)
    gcg = attack.token_suffix
    tokens = gcg.tokens if gcg else attack.soft_suffix
    assert tokens is not None
    return Suffix(
        defense=defense,
        behavior=behavior,
        tokens=tokens,
        steps=attack.steps or budget.steps or STEPS,
        optimizer=None if gcg else attack.optimizer,
        candidates=gcg.candidates if gcg else 0,
        top=gcg.top if gcg else 0,
        keep=attack.keep or 0.0,
        target_tokens=attack.maximize.tokens,
        stop=attack.stop,
        forward_passes=attack.forward_passes or budget.forward_passes,
    )


def _budget(spec: Spec, attack: schema.Attack) -> schema.Budget:
    return spec.budgets[attack.budget] if attack.budget else schema.Budget()


def _places(spec: Spec, perturb: tuple[schema.Perturbation, ...]) -> tuple[Place, ...]:
    sites = (
        (spec.saes[p.place].reads if isinstance(p.place, str) else p.place, p.positions)
        for p in perturb
    )
    return tuple(Place(site.layer, site.side, positions) for site, positions in sites)


def _without_search(recover: Recover) -> Recover:
    """Return an attack with its place, constraint and limits alone, without optimizer, steps,
    passes and restarts."""
    stages = tuple(evolve(s, optimizer=schema.Adam(), steps=0) for s in recover.stages)
    return evolve(recover, stages=stages, stop="recovered", forward_passes=None, restarts=0)
