"""Rules of controls and attributions: they repeat an attack, with one thing changed."""

from __future__ import annotations

from recoverdsl.language import schema
from recoverdsl.language.checker.rules.meaning import Meaning
from recoverdsl.language.schema.budgets import suffix_of

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
    if control.target and attack and not isinstance(attack.maximize, schema.LogProb):
        meaning.add(
            "REC418",
            f"`{control.of}` does not maximize an answer that another could replace",
            f"{path}.target",
            help="give the attack `maximize = logprob(base_answer)`",
            related=(f"attack.{control.of}.maximize", "it maximizes this"),
        )
    check_delta(meaning, f"{path}.of", control.of, "controlled")
    if not control.method and not control.target:
        if control.on == "undefended":
            message = "without the clamp the behavior is there already, in every valid flip"
            meaning.lacks("REC412", message, f"{path}.on", path, help=f"add `{_TARGET}`")
        else:
            help = f"add `with = random_direction` or `{_TARGET}`"
            meaning.lacks("REC412", "this control repeats the attack", path, path, help=help)


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
