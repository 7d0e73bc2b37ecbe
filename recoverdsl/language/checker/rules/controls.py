"""Rules of controls and attributions: they repeat an attack, with one thing changed."""

from __future__ import annotations

from recoverdsl.language import schema
from recoverdsl.language.checker.rules.meaning import Meaning
from recoverdsl.language.diagnostics import Help
from recoverdsl.language.schema.budgets import suffix_of
from recoverdsl.language.schema.forms import names_a_column
from recoverdsl.language.schema.uses import target_of

_TARGET = "target = base_answer of another_example"


def check_control(meaning: Meaning, path: str, control: schema.Control) -> None:
    """Report a control that changes nothing, or more than one thing."""
    for key in ("draws", "seed") if not control.method else ():
        if f"{path}.{key}" in meaning.spec.spans:
            meaning.add(
                "REC411",
                f"`{key}` is for random directions, and nothing is drawn here",
                f"{path}.{key}",
                help=f"remove `{key}`, or add `with = random_direction`",
            )
    if control.method:
        for key, given, other in (
            ("target", control.target is not None, "another target"),
            ("on", control.on == "undefended", "the undefended model"),
        ):
            if given:
                meaning.add(
                    "REC411",
                    f"a control has either another direction or {other}",
                    f"{path}.{key}",
                    help="write two controls",
                    related=(f"{path}.with", "the direction is here"),
                )
    attack = meaning.spec.attacks.get(control.of)
    if control.target and attack:
        _target(meaning, path, control, attack)
    check_delta(meaning, f"{path}.of", control.of, "controlled")
    if not control.method and not control.target:
        if control.on == "undefended":
            message = "without the clamp the behavior is there already, in every valid flip"
            meaning.lacks("REC412", message, f"{path}.on", path, help=f"add `{_TARGET}`")
        else:
            help = f"add `with = random_direction` or `{_TARGET}`"
            meaning.lacks("REC412", "this control repeats the attack", path, path, help=help)


def _target(meaning: Meaning, path: str, control: schema.Control, attack: schema.Attack) -> None:
    """Report a target that the attack cannot have, or has already."""
    where, related = f"{path}.target", (f"attack.{control.of}.maximize", "it maximizes this")
    name = target_of(control)
    if isinstance(attack.maximize, schema.LogProb) != (name is None):
        message = f"`{control.of}` does not maximize an answer that another could replace"
        help: Help | str = "give the attack `maximize = logprob(base_answer)`"
        if name is not None:
            message = f"`{control.of}` maximizes an answer, which a behavior cannot replace"
            help = f"write `{_TARGET}`"
        elif isinstance(attack.maximize, str):
            help = f"{help}, or write `target = {attack.maximize} of another_example`"
        meaning.add("REC418", message, where, help=help, related=related)
        return
    if name is None:
        return
    meaning.scored(name, where, "reached")
    if isinstance(control.target, str) and name == attack.maximize:
        message = f"this is the target of `{control.of}` itself"
        help = meaning.in_place_of(name, where, f"{name} of another_example")
        meaning.add("REC418", message, where, help=help, related=related)
    behavior = meaning.spec.behaviors.get(name)
    if isinstance(control.target, schema.BehaviorOf) and behavior and not _names_a_column(behavior):
        meaning.add(
            "REC418", f"`{name}` names no column, so it is the same for another example", where,
            help=f'name a column of the data, such as `top_token == " {{io}}"`, or write `target = {name}`',
            related=(f"behavior.{name}", f"`{name}` is defined here"),
        )  # fmt: skip


def _names_a_column(behavior: schema.Behavior) -> bool:
    score = behavior.score.terms if behavior.score else ()
    tokens = [term.token for term in score] + [token for leaf in schema.leaves(behavior.holds) for token in schema.tokens_of(leaf)]  # fmt: skip
    return any(map(names_a_column, tokens))


def check_delta(meaning: Meaning, path: str, name: str, doing: str) -> None:
    """Report a control or an attribution of an attack that adds no δ."""
    attack = meaning.spec.attacks.get(name)
    if attack and (suffix := suffix_of(attack)):
        meaning.add(
            "REC417",
            f"`{name}` uses a suffix and adds no δ that could be {doing}",
            path,
            help="name an attack with `perturb`",
            related=(f"attack.{name}.{suffix}", "the suffix is here"),
        )
