"""Rules of attacks: what they raise, where, and what they may spend."""

from __future__ import annotations

from recoverdsl.language import schema
from recoverdsl.language.checker.rules.meaning import GENERATE, Meaning
from recoverdsl.language.schema import Attack
from recoverdsl.language.schema.budgets import suffix_of

_NOT_PERTURBED = {
    "generated": (
        None,
        "write `target_tokens`, one vector for each token of the target answer, or"
        " `every_generated_token`, one vector for all generated positions",
    )
}
"""Position words that have no meaning in a perturbation, with what to write."""


def check_attack(meaning: Meaning, path: str, attack: Attack) -> None:
    """Report what an attack cannot raise, and what does not go together in it."""
    if isinstance(attack.maximize, str):
        meaning.scored(attack.maximize, f"{path}.maximize", "maximized")
    elif not meaning.generates:
        meaning.add(
            "REC408",
            "there is no base answer: no behavior generates a text",
            f"{path}.maximize",
            help=f"{GENERATE} to a behavior",
        )
    if suffix := suffix_of(attack):
        _suffix(meaning, path, attack, suffix)
    else:
        _perturbing(meaning, path, attack)
    _under(meaning, path, attack)


def _under(meaning: Meaning, path: str, attack: Attack) -> None:
    """Report an attack that does not say which of several clamps it is under."""
    clamps = meaning.spec.intervenes
    if attack.under is not None or len(clamps) < 2:
        return
    kept = attack.preserve.protect if attack.preserve else None
    meant = [f"under = {name}" for name, clamp in clamps.items() if clamp.protect == kept]
    choices = " or ".join(f"`under = {name}`" for name in clamps)
    meaning.lacks(
        "REC422",
        "there are several clamps, and this attack does not say which one it is under",
        path,
        path,
        why="its figures are over the examples from which that clamp removes the behavior",
        help=meaning.inside(path, meant[0]) if len(meant) == 1 else f"add {choices}",
    )


def _suffix(meaning: Meaning, path: str, attack: Attack, suffix: str) -> None:
    """Return an attack with trainable embeddings or real tokens after the prompt."""
    here = (f"{path}.{suffix}", "the suffix is here")
    if attack.soft_suffix is not None and attack.token_suffix is not None:
        meaning.add(
            "REC411", "an attack uses one kind of suffix", f"{path}.token_suffix",
            help="remove one of them", related=here,
        )  # fmt: skip
    if attack.perturb or attack.stages:
        also = "perturb" if attack.perturb else "stage"
        meaning.add(
            "REC411",
            "an attack either perturbs or uses a suffix",
            f"{path}.{suffix}",
            help=f"remove `{suffix}`, or write an attack of its own for it",
            related=(f"{path}.{also}", "it perturbs here"),
        )
        return
    useless = {
        "preserve": attack.preserve is not None,
        "find": attack.find is not None,
        "restarts": attack.restarts > 0,
        "limit": attack.limit is not None,
        "budget": attack.budget is not None
        and attack.budget in meaning.spec.budgets
        and meaning.spec.budgets[attack.budget].limit is not None,
        "with": suffix == "token_suffix" and f"{path}.with" in meaning.spec.spans,
    }
    if isinstance(attack.optimizer, schema.Apgd) and not useless["with"]:
        meaning.add(
            "REC406",
            "`apgd` takes its step from the limit on δ, and a suffix has none",
            f"{path}.with",
            help="write `with = adam(lr = 0.01)`",
            related=here,
        )
    for key, given in useless.items():
        if given:
            meaning.add(
                "REC406",
                f"`{key}` has no meaning with `{suffix}`",
                f"{path}.{key}",
                help=f"remove `{key}` or `{suffix}`",
                related=here,
            )


def _perturbing(meaning: Meaning, path: str, attack: Attack) -> None:
    """Return an attack that adds δ to the residual stream."""
    if attack.keep is not None:
        meaning.add(
            "REC415",
            "`keep` is for suffixes",
            f"{path}.keep",
            help="write `preserve = …`, which holds the features where they are",
        )
    if attack.stages:
        for key, given, says in (
            ("perturb", attack.perturb, "where it perturbs"),
            ("limit", attack.limit, "what it may spend"),
            ("steps", attack.steps, "how many steps it takes"),
            ("forward_passes", attack.forward_passes, "how many steps it takes"),
            ("budget", attack.budget, "what it may spend"),
        ):
            if given:
                meaning.add(
                    "REC411",
                    f"an attack with stages says in each {says}",
                    f"{path}.{key}",
                    help=f"remove this `{key}`, or the stages",
                )
    elif not attack.perturb:
        help = "add `perturb = … at last_token`"
        meaning.lacks("REC409", "this attack perturbs nothing", path, path, help=help)
    _places(meaning, path, attack.perturb)
    for where, stage in zip(meaning.stages(path), attack.stages, strict=False):
        _places(meaning, where, stage.perturb)
        if len(stage.limit.norms) > 1:
            meaning.add(
                "REC416",
                "a stage has one limit",
                f"{where}.limit",
                help=f"such as `limit = norm <= {max(stage.limit.norms):g}`",
            )
    budget = f"budget.{attack.budget}"
    unread = attack.budget is not None and (
        attack.budget not in meaning.spec.budgets or budget in meaning.partial
    )
    if not meaning.limits(path, attack) and not unread:
        help = "add `limit = norm <= 20`"
        meaning.lacks("REC401", "this attack has no limit", path, path, help=help)


def _places(meaning: Meaning, path: str, perturb: tuple[schema.Perturbation, ...]) -> None:
    for one in perturb:
        meaning.positions(f"{path}.perturb", one.positions, _NOT_PERTURBED, "δ is not added at")
