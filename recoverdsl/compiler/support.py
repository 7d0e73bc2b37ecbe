"""The part of the language that this version can execute; the rest is valid, and refused here by
name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

from recoverdsl.errors import NotYetError, SpecError
from recoverdsl.language import schema
from recoverdsl.language.schema import Spec, leaves
from recoverdsl.language.schema.budgets import suffix_of
from recoverdsl.language.schema.tested import candidates, named_data
from recoverdsl.language.schema.uses import clamp_of, tested, used


def refuse_unsupported(spec: Spec) -> None:
    """Raise an error if this version cannot execute the spec.

    Raises:
        NotYetError: the spec asks for something that is not built yet; it names every such place.
        SpecError: the spec has no model, no data or no behavior.
    """
    for blocks, what in ((spec.models, "model"), (spec.data, "data"), (spec.behaviors, "behavior")):
        if not blocks:
            raise SpecError(
                f"expected a {what} block to run, found none",
                help=f"add `{what} NAME {{ … }}`",
            )
    missing = sorted(_missing(spec), key=lambda place: _line_of(spec, place[0]))
    if missing:
        lines = "\n".join(f"  - {_line(spec, path)}{what}" for path, what in missing)
        raise NotYetError(
            f"this spec is valid, but this version cannot run these parts yet:\n{lines}",
            help="`recoverdsl check` accepts it; remove these parts to run the rest",
        )


def _line_of(spec: Spec, path: str) -> int:
    """Return the line of a value, or of the block that lacks it; 0 if unknown."""
    span = spec.spans.get(path) or spec.spans.get(path.rpartition(".")[0])
    return int(getattr(span, "line", 0))


def _line(spec: Spec, path: str) -> str:
    line = _line_of(spec, path)
    return f"line {line}, {path}: " if line else f"{path}: "


def examples_of(spec: Spec) -> str:
    """Return the data block whose rows are the examples: the one that a behavior names with `over`, or
    the only one that is used for nothing else.

    Raises:
        SpecError: several blocks are possible.
    """
    first = tested(spec)[0]
    if named := named_data(spec):
        return named
    left = candidates(spec)
    if len(left) != 1:
        raise SpecError(
            f"expected one data block of examples, found {' and '.join(left or spec.data)}",
            where=f"behavior {first}",
            help=f"add `over = {(left or list(spec.data))[0]}` to the behavior",
        )
    return left[0]


def _missing(spec: Spec) -> Iterator[tuple[str, str]]:
    """Yield the path and the kind of every part that this version cannot run."""
    yield from _several(spec)
    for name in used(spec):
        path, behavior = f"behavior.{name}", spec.behaviors[name]
        if behavior.over not in (None, examples_of(spec)):
            yield f"{path}.over", "behaviors over different examples"
        if behavior.generate is None:
            if behavior.score and behavior.score.positions != schema.Positions(("last_token",)):
                yield f"{path}.score", "a score at other positions than last_token"
        elif behavior.score is not None:
            yield f"{path}.score", "a score of a behavior that is judged by its text"
        else:
            for key, predicate in (("holds", behavior.holds), ("removed", behavior.removed)):
                if predicate and any(isinstance(x, schema.NextToken) for x in leaves(predicate)):
                    yield (
                        f"{path}.{key}",
                        "the next token, in a behavior that is judged by its text",
                    )
    for name, protect in spec.protects.items():
        by = protect.select.by if isinstance(protect.select, schema.Top) else None
        if isinstance(by, schema.Contrast) and by.texts not in spec.data:
            yield f"protect.{name}.select", "texts by their path: name a data block"
        sites = [_point(spec.saes[sae].reads) for sae in protect.saes]
        if len(set(sites)) < len(sites):
            yield f"protect.{name}.in", "two SAEs that read the same site"
    for name, attack in spec.attacks.items():
        yield from _attack(spec, name, attack)
    for name in spec.attributes:
        places = [p.place for p in spec.attacks[name].perturb] + [
            p.place for stage in spec.attacks[name].stages for p in stage.perturb
        ]
        if any(not _has_sae(spec, spec.attacks[name], place) for place in places):
            yield f"attribute.{name}", "splitting δ at a site without an SAE of the clamp"


def _several(spec: Spec) -> Iterator[tuple[str, str]]:
    for name in list(spec.models)[1:]:
        yield f"model.{name}", "more than one model"
    generating = [name for name in used(spec) if spec.behaviors[name].generate]
    for name in generating[1:]:
        yield f"behavior.{name}", "more than one behavior that is judged by its text"
    if spec.attacks and not spec.intervenes:
        yield f"attack.{next(iter(spec.attacks))}", "an attack without an intervene block"


def _attack(spec: Spec, name: str, attack: schema.Attack) -> Iterator[tuple[str, str]]:
    path = f"attack.{name}"
    answer = isinstance(attack.maximize, schema.LogProb)
    if suffix_of(attack) and not answer:
        yield f"{path}.maximize", "a suffix that maximizes anything but logprob(base_answer)"
    if isinstance(attack.maximize, str) and spec.behaviors[attack.maximize].generate:
        yield f"{path}.maximize", "the score of a behavior that is judged by its text"
    under = clamp_of(spec, attack)
    clamped = spec.intervenes[under].protect if under else None
    if attack.preserve is not None and attack.preserve.protect != clamped:
        yield f"{path}.preserve", "keeping other features than the clamped ones"
    if attack.stages and attack.find:
        yield f"{path}.find", "the smallest norm of an attack in stages"
    places = list(attack.perturb) + [p for stage in attack.stages for p in stage.perturb]
    after = {"target_tokens", "every_generated_token"}
    if not answer and any(after & set(p.positions.include) for p in places):
        yield f"{path}.perturb", "δ after the prompt without logprob(base_answer) as the goal"
    if places and attack.preserve is not None and spec.intervenes:
        yield from _preserved(spec, path, attack, places)
    only_target = places and all(p.positions.include == ("target_tokens",) for p in places)
    if only_target and attack.maximize == schema.LogProb("base_answer", 1):
        yield f"{path}.maximize", "a target of one token, which the prompt predicts: no δ acts"
    for one, other in combinations(attack.stages, 2):
        for a, b in product(one.perturb, other.perturb):
            if _site(spec, a.place) == _site(spec, b.place) and _overlap(a.positions, b.positions):
                yield f"{path}.stage", "stages that perturb the same position of one site"
    for perturb in (attack.perturb, *(stage.perturb for stage in attack.stages)):
        sites = [_site(spec, p.place) for p in perturb]
        if len(set(sites)) < len(sites):
            yield f"{path}.perturb", "one site twice: join the positions in a list"


def _preserved(
    spec: Spec, path: str, attack: schema.Attack, places: list[schema.Perturbation]
) -> Iterator[tuple[str, str]]:
    if isinstance(attack.preserve, schema.Orthogonal):
        if any(not _has_sae(spec, attack, p.place) for p in places):
            yield (
                f"{path}.preserve",
                "orthogonal(…) at a site without an SAE of the clamp, where it binds nothing",
            )
    elif min(_site(spec, p.place) for p in places) > max(_clamped(spec, attack)):
        yield (
            f"{path}.preserve",
            "keeping features that δ cannot reach: it acts above every clamped site",
        )


def _overlap(a: schema.Positions, b: schema.Positions) -> bool:
    """Return whether two sets of positions may share one."""
    prompt = {"every_token", "first", "last_token"}
    return any(
        one == other
        or (one in prompt and other in prompt and "every_token" in (one, other))
        or (one not in prompt and other not in prompt)
        for one, other in product(a.include, b.include)
    )


def _point(site: schema.Site) -> int:
    return site.layer + (site.side == "output")


def _site(spec: Spec, place: str | schema.Site) -> int:
    return _point(spec.saes[place].reads if isinstance(place, str) else place)


def _clamped(spec: Spec, attack: schema.Attack) -> list[int]:
    """Return the boundaries that the SAEs of an attack's clamp read."""
    under = clamp_of(spec, attack)
    saes = spec.protects[spec.intervenes[under].protect].saes if under else ()
    return [_point(spec.saes[sae].reads) for sae in saes]


def _has_sae(spec: Spec, attack: schema.Attack, place: str | schema.Site) -> bool:
    return _site(spec, place) in _clamped(spec, attack)
