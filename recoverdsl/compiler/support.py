"""What this version can execute. The rest of the language is checked, and refused here by name."""

from __future__ import annotations

from collections.abc import Iterator

from recoverdsl.errors import NotYetError, SpecError
from recoverdsl.language import schema
from recoverdsl.language.schema import Spec


def refuse_what_cannot_run(spec: Spec) -> None:
    """Raises NotYetError with every place of the spec that asks for something not built yet.

    Raises:
        SpecError: there is nothing to run: no model, no data or no behavior.
    """
    for blocks, what in ((spec.models, "model"), (spec.data, "data"), (spec.behaviors, "behavior")):
        if not blocks:
            raise SpecError(
                f"there is nothing to run: the spec has no {what} block",
                help=f"add `{what} NAME {{ … }}`",
            )
    missing = sorted(_missing(spec), key=lambda place: _line_of(spec, place[0]))
    if missing:
        lines = "\n".join(f"  - {_line(spec, path)}{what}" for path, what in missing)
        raise NotYetError(
            f"this spec is valid, and asks for what this version cannot run yet:\n{lines}",
            help="`recoverdsl check` accepts it; remove these parts to run the rest",
        )


def _line_of(spec: Spec, path: str) -> int:
    """The line of a value, or of the block that lacks it."""
    span = spec.spans.get(path) or spec.spans.get(path.rpartition(".")[0])
    return int(getattr(span, "line", 0))


def _line(spec: Spec, path: str) -> str:
    line = _line_of(spec, path)
    return f"line {line}, {path}: " if line else f"{path}: "


def _missing(spec: Spec) -> Iterator[tuple[str, str]]:
    yield from _several(spec)
    for name, behavior in spec.behaviors.items():
        path = f"behavior.{name}"
        if behavior.generate is not None:
            yield f"{path}.generate", "judging a generated text"
        elif not _only_score(behavior.holds):
            yield f"{path}.holds", "detectors of generated text"
        elif behavior.score is None:
            yield path, "a behavior without a score"
        elif behavior.score.positions != schema.Positions(("last_token",)):
            yield f"{path}.score", "a score at other positions than last_token"
    for name, sae in spec.saes.items():
        if isinstance(sae.source, schema.Release) and sae.sha256:
            yield f"sae.{name}.sha256", "checking the sha256 of a release"
    for name, protect in spec.protects.items():
        path = f"protect.{name}"
        if len(protect.saes) != 1:
            yield f"{path}.in", "features of several SAEs"
        if isinstance(protect.select, schema.Top) and not isinstance(
            protect.select.by, schema.Attribution
        ):
            yield f"{path}.select", "ranking by anything but attribution(…)"
    for name, intervene in spec.intervenes.items():
        if isinstance(intervene.to, schema.MeanWhen):
            yield f"intervene.{name}.to", "a clamp to a mean over texts"
    for name, attack in spec.attacks.items():
        yield from _attack(spec, name, attack)
    for name, control in spec.controls.items():
        if control.target is not None:
            yield f"control.{name}.target", "an unrelated target"
        elif control.on == "undefended":
            yield f"control.{name}.on", "an attack on the undefended model"
        elif control.method is None:
            yield f"control.{name}", "a control without `with = random_direction`"
    for name in spec.attributes:
        yield f"attribute.{name}", "splitting δ into parts"
    for name in spec.sweeps:
        yield f"sweep.{name}", "sweeps"
    for name, budget in spec.budgets.items():
        if budget.forward_passes is not None:
            yield f"budget.{name}.forward_passes", "a budget of forward passes"


def _several(spec: Spec) -> Iterator[tuple[str, str]]:
    for blocks, kind, what in (
        (spec.models, "model", "more than one model"),
        (spec.saes, "sae", "more than one SAE"),
        (spec.data, "data", "more than one data block"),
        (spec.behaviors, "behavior", "more than one behavior"),
        (spec.protects, "protect", "more than one set of protected features"),
        (spec.intervenes, "intervene", "more than one clamp"),
    ):
        for name in list(blocks)[1:]:
            yield f"{kind}.{name}", what
    goal = next((attack.maximize for attack in spec.attacks.values()), None)
    for name, attack in spec.attacks.items():
        if attack.maximize != goal:
            yield f"attack.{name}.maximize", "another goal than the first attack's"
    if spec.attacks and not spec.intervenes:
        yield f"attack.{next(iter(spec.attacks))}", "an attack without an intervene block"


def _attack(spec: Spec, name: str, attack: schema.Attack) -> Iterator[tuple[str, str]]:
    path = f"attack.{name}"
    if attack.soft_suffix is not None:
        yield f"{path}.soft_suffix", "suffix attacks"
    if attack.stages:
        yield f"{path}.stage", "stages"
    if not isinstance(attack.maximize, str):
        yield f"{path}.maximize", "log-probability of an answer as the goal"
    if attack.preserve is not None and not isinstance(attack.preserve, schema.Orthogonal):
        yield f"{path}.preserve", "a constraint other than orthogonal(…)"
    clamped = {intervene.protect for intervene in spec.intervenes.values()}
    if isinstance(attack.preserve, schema.Orthogonal) and attack.preserve.protect not in clamped:
        yield f"{path}.preserve", "keeping other features than the clamped ones"
    if attack.soft_suffix is None and not attack.stages:
        if len(attack.perturb) != 1:
            yield f"{path}.perturb", "δ at several sites"
        elif not _at_clamp(spec, attack.perturb[0]):
            yield f"{path}.perturb", "δ at another site than the clamp's"
        elif {"target_tokens", "generated", "every_generated_token"} & set(
            attack.perturb[0].positions.include
        ):
            yield f"{path}.perturb", "δ at generated positions"


def _at_clamp(spec: Spec, perturbation: schema.Perturbation) -> bool:
    def point(site: schema.Site) -> int:
        return site.layer + (site.side == "output")

    place = perturbation.place
    site = spec.saes[place].reads if isinstance(place, str) else place
    clamped = [
        point(spec.saes[sae].reads)
        for intervene in spec.intervenes.values()
        for sae in spec.protects[intervene.protect].saes
    ]
    return point(site) in clamped


def _only_score(predicate: schema.Predicate) -> bool:
    if isinstance(predicate, schema.Comparison):
        return predicate.left == "score"
    if isinstance(predicate, schema.Not):
        return _only_score(predicate.of)
    if isinstance(predicate, schema.And | schema.Or):
        return all(_only_score(part) for part in predicate.parts)
    return False
