"""Rules of metrics and expectations: a figure is asked for where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from recoverdsl.language.checker.rules.meaning import GENERATE, Meaning
from recoverdsl.language.diagnostics import Edit, Help, replace
from recoverdsl.language.schema import METRICS, AnswerOf, Attack, Control, Expectation
from recoverdsl.language.schema.budgets import suffix_of
from recoverdsl.language.schema.strongest import STRONGEST, strongest_of

_SEARCHED = ("smallest_norm", "budget_ratio", "specificity")
_UNCONSTRAINED = "unconstrained_recovery_rate"


def check_metric(meaning: Meaning, path: str, name: str) -> None:
    """Report a figure of generated text where none is generated, or of the next token where none is read."""
    if METRICS[name].next_token and meaning.only_generates:
        meaning.add(
            "REC407",
            f"`{name}` is of the next token, and every behavior is judged by its text",
            path,
            help='name a token in a behavior, such as `holds = top_token == " {io}"`',
        )
    if METRICS[name].generated and not meaning.generates:
        meaning.add(
            "REC408",
            f"`{name}` is of generated text, and no behavior generates one",
            path,
            help=f"{GENERATE} to a behavior",
        )


def check_expectation(meaning: Meaning, path: str, expectation: Expectation) -> None:
    """Report an expectation that no run could judge, or none could fail."""
    check_metric(meaning, path, expectation.metric)
    _share(meaning, path, expectation)
    if expectation.subject == STRONGEST and STRONGEST not in meaning.spec.attacks:
        _strongest(meaning, path, expectation)
        return
    control = meaning.spec.controls.get(expectation.subject)
    name = control.of if control else expectation.subject
    attack = meaning.spec.attacks.get(name)
    if attack is None:
        return
    if expectation.metric == _UNCONSTRAINED:
        _unconstrained(meaning, path, expectation, control, name, attack)
    if expectation.metric in _SEARCHED:
        _searched(meaning, path, expectation, control, name, attack)
    else:
        _norm(meaning, path, expectation, name, attack)


def _strongest(meaning: Meaning, path: str, expectation: Expectation) -> None:
    """Report what the attacks that `strongest` covers have no figure for."""
    written = [p for p in meaning.spec.spans if p.startswith("attack.") and p.count(".") == 1]
    if "attack" in meaning.unread or len(written) > len(meaning.spec.attacks):
        return
    attacks = {name: meaning.spec.attacks[name] for name in strongest_of(meaning.spec)}
    metric = expectation.metric
    if not attacks:
        meaning.add(
            "REC405", "there is no attack of which one could be the strongest", f"{path}.subject",
            help="add an `attack` block",
        )  # fmt: skip
    elif metric == "budget_ratio":
        meaning.add(
            "REC405", f"expected a control with another target, found `{STRONGEST}`", f"{path}.subject",
            why="the ratio compares what another target costs with what recovery costs",
            help="name a control with `target = base_answer of another_example`",
        )  # fmt: skip
    elif metric in _SEARCHED and expectation.norm is not None:
        meaning.add(
            "REC405", f"`{metric}` is searched over all norms and has no `norm`", f"{path}.norm",
            help=_without_norm(meaning, path, f"write `{metric}({STRONGEST})`"),
        )  # fmt: skip
    elif metric in _SEARCHED and not any(attack.find for attack in attacks.values()):
        meaning.add(
            "REC405", f"none of {_listed(attacks)} searches for the smallest norm", f"{path}.subject",
            help="add `find = smallest_norm()` to one of them",
        )  # fmt: skip
    elif expectation.norm is not None:
        norms = {n for name, a in attacks.items() for n in meaning.limits(f"attack.{name}", a)}
        if norms and not any(math.isclose(expectation.norm, norm) for norm in norms):
            meaning.add(
                "REC405", f"none of {_listed(attacks)} has a budget of norm {expectation.norm:g}",
                f"{path}.norm", help="their budgets: " + ", ".join(f"{n:g}" for n in sorted(norms)),
            )  # fmt: skip


def _listed(attacks: Mapping[str, Attack]) -> str:
    return ", ".join(f"`{name}`" for name in attacks)


def _share(meaning: Meaning, path: str, expectation: Expectation) -> None:
    """Report `recovery_rate(a) <= 5`: a rate of 500% says nothing."""
    if METRICS[expectation.metric].rate and not 0 <= expectation.value <= 1:
        span = meaning.span(f"{path}.value")
        percent = f"{expectation.value:g}%"
        plain = span.end > span.start and 1 < expectation.value <= 100
        meaning.add(
            "REC302",
            f"`{expectation.metric}` is a share of the examples, from 0 to 1",
            f"{path}.value",
            help=replace(span, percent, f"did you mean `{percent}`?")
            if plain
            else "write it like `5%`",
        )


def _norm(meaning: Meaning, path: str, expectation: Expectation, name: str, attack: Attack) -> None:
    norms = meaning.limits(f"attack.{name}", attack)
    suffix = suffix_of(attack)
    if expectation.norm is None or expectation.norm in norms or not (norms or suffix):
        return
    help: Help | str = "its budgets: " + ", ".join(f"{norm:g}" for norm in norms)
    if suffix:
        help = _without_norm(meaning, path, "a suffix has no norm: leave it out")
    meaning.add(
        "REC405",
        f"`{expectation.subject}` has no budget of norm {expectation.norm:g}",
        f"{path}.norm",
        help=help,
    )


def _unconstrained(
    meaning: Meaning,
    path: str,
    expectation: Expectation,
    control: Control | None,
    name: str,
    attack: Attack,
) -> None:
    """Report a figure of directions drawn without a constraint where none are drawn, or there is none."""
    subject = expectation.subject
    if control is None or not control.method:
        meaning.lacks(
            "REC405",
            f"expected a control by random directions, found `{subject}`",
            f"{path}.subject",
            f"control.{subject}" if control else f"attack.{name}",
            help="name a control with `with = random_direction`",
        )
    elif attack.preserve is None:
        meaning.lacks(
            "REC405",
            f"`{name}` has no constraint, so none of its random directions keeps one",
            f"{path}.subject",
            f"attack.{name}",
            help=f"write `recovery_rate({subject})`",
        )


def _searched(
    meaning: Meaning,
    path: str,
    expectation: Expectation,
    control: Control | None,
    name: str,
    attack: Attack,
) -> None:
    """`smallest_norm` and `budget_ratio`."""
    metric, subject = expectation.metric, expectation.subject
    if metric == "budget_ratio" and not (control and control.target):
        meaning.lacks(
            "REC405",
            f"expected a control with another target, found `{subject}`",
            f"{path}.subject",
            f"control.{subject}",
            why="the ratio compares what another target costs with what recovery costs",
            help="name a control with `target = base_answer of another_example`",
        )
        return
    if metric == "specificity" and control:
        meaning.lacks(
            "REC405",
            f"expected an attack, found the control `{subject}`",
            f"{path}.subject",
            f"control.{subject}",
            why="specificity compares an attack with what its budget does for an unrelated target",
            help=f"write `specificity({control.of})`, or `budget_ratio({subject})`",
        )
        return
    if metric in ("budget_ratio", "specificity") and expectation.operator in ("<", "<="):
        meaning.add(
            "REC405",
            "the ratio is at least what is found, so it cannot be shown to be small",
            f"{path}.operator",
            why="a target that no norm reached counts with the largest that was tried",
            help="write `>` or `>=`",
        )
    answers = control is not None and isinstance(control.target, AnswerOf)
    searched = metric == "smallest_norm" and not answers
    if control and control.target and control.on == "undefended" and not searched:
        meaning.lacks(
            "REC405",
            f"no smallest norm is searched for `{subject}`, which runs without the clamp",
            f"{path}.subject",
            f"control.{subject}",
            help="name a control under the clamp",
        )
        return
    if expectation.norm is not None:
        meaning.add(
            "REC405",
            f"`{metric}` is searched over all norms and has no `norm`",
            f"{path}.norm",
            help=_without_norm(meaning, path, f"write `{metric}({subject})`"),
        )
    if metric == "smallest_norm" and control and not control.target:
        meaning.lacks(
            "REC405",
            f"`{subject}` does not search for the smallest norm",
            f"{path}.subject",
            f"control.{subject}",
            help="name the attack, or a control with a `target`",
        )
    elif attack.find is None:
        meaning.lacks(
            "REC405",
            f"`{name}` does not search for the smallest norm",
            f"{path}.subject",
            f"attack.{name}",
            help="add `find = smallest_norm()` to the attack",
        )


def _without_norm(meaning: Meaning, path: str, help: str) -> Help:
    spans = meaning.spec.spans
    if f"{path}.norm" not in spans or f"{path}.subject" not in spans:
        return Help(help)
    subject, norm = meaning.span(f"{path}.subject"), meaning.span(f"{path}.norm")
    if norm.start < subject.start:
        return Help(help)
    return Help(help, (Edit(subject.after.to(norm), ""),))
