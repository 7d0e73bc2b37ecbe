"""The data block that an audit tests, as far as the spec alone tells."""

from __future__ import annotations

from recoverdsl.language.schema.blocks import Spec
from recoverdsl.language.schema.forms import MeanWhen
from recoverdsl.language.schema.functions import Attribution, Contrast, Top
from recoverdsl.language.schema.uses import tested, used


def set_aside(spec: Spec) -> set[str]:
    """Return the names that a spec uses for other rows than the tested ones: those by which features are
    ranked, and those whose means a clamp takes."""
    names: set[str] = set()
    for protect in spec.protects.values():
        by = protect.select.by if isinstance(protect.select, Top) else None
        if isinstance(by, Contrast):
            names |= {by.texts, by.against}
        if isinstance(by, Attribution) and by.over:
            names.add(by.over)
    return names | {
        intervene.to.data
        for intervene in spec.intervenes.values()
        if isinstance(intervene.to, MeanWhen)
    }


def candidates(spec: Spec) -> list[str]:
    """Return the data blocks that may hold the tested rows, where no behavior names them with `over`: those
    that are used for nothing else, or the only one that there is."""
    left = [name for name in spec.data if name not in set_aside(spec)]
    return left or (list(spec.data) if len(spec.data) == 1 else [])


def named_data(spec: Spec) -> str | None:
    """Return the data block that a behavior names with `over`: the first that is tested, or else another
    that is used. None if none does."""
    names = [*tested(spec)[:1], *used(spec)] if spec.behaviors else []
    return next((over for name in names if (over := spec.behaviors[name].over)), None)


def tested_data(spec: Spec) -> str | None:
    """Return the data block whose rows are the tested examples; None if the spec does not tell."""
    if named := named_data(spec):
        return named if named in spec.data else None
    found = candidates(spec)
    return found[0] if len(found) == 1 else None
