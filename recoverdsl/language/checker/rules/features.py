"""Rules of the protected features and of the clamp on them."""

from __future__ import annotations

from recoverdsl.language import schema
from recoverdsl.language.checker.rules.meaning import Meaning
from recoverdsl.language.diagnostics import Help
from recoverdsl.language.diagnostics.suggestions import did_you_mean, suggest

_AFTER = ("generated", "write `generated`: every position after the prompt")
_NOT_CLAMPED = {"target_tokens": _AFTER, "every_generated_token": _AFTER}
"""Position words that have no meaning in a clamp, with the one to write."""


def check_intervene(meaning: Meaning, path: str, intervene: schema.Intervene) -> None:
    """Report a clamp at positions that only perturbations have."""
    meaning.positions(f"{path}.at", intervene.at, _NOT_CLAMPED, "a clamp acts at no")


def check_protect(meaning: Meaning, path: str, protect: schema.Protect) -> None:
    """Report features that nothing ranks, or that no SAE of the block numbers."""
    select = protect.select
    where = f"{path}.select"
    if isinstance(select, schema.Top):
        if select.by is None:
            meaning.add(
                "REC305",
                "`top` needs `by` here: what ranks the features",
                where,
                help="add `by = attribution(…)` or `by = contrast(…)`",
            )
        if isinstance(select.by, schema.Attribution):
            meaning.scored(select.by.behavior, where, "attributed")
        return
    for features in select:
        if features.of is None and len(set(protect.saes)) > 1:
            meaning.add(
                "REC414",
                "there are several SAEs, and these features do not say which numbers them",
                where,
                help=f"write `[features(…, of = {protect.saes[0]}), …]`",
                related=(f"{path}.in", "the SAEs are here"),
            )
        elif features.of is not None and features.of not in protect.saes:
            near = did_you_mean(features.of, protect.saes)
            help: Help | str | None = suggest(features.of, protect.saes, "its SAEs")
            meaning.add(
                "REC414",
                f"`{features.of}` is not among the SAEs of this block",
                where,
                help=meaning.in_place_of(features.of, where, near) if near else help,
                related=(f"{path}.in", "the SAEs are here"),
            )
