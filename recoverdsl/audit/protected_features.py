"""The protected features of a run, from the records of the steps that select and read them."""

from __future__ import annotations

from recoverdsl.compiler.steps import SelectFeatures
from recoverdsl.engine.defense.autoencoders import boundary_of
from recoverdsl.engine.steps.feature_records import (
    FeatureReadings,
    SelectedFeature,
    SelectedFeatures,
)
from recoverdsl.engine.steps.output import Output
from recoverdsl.language.schema import Attribution, Positions, Release, Spec, Top
from recoverdsl.measure.protected_features import ProtectedFeature, ProtectedFeatures
from recoverdsl.sources.sae_lens_table import neuronpedia


def protected_features(spec: Spec, output: Output) -> dict[str, ProtectedFeatures]:
    """Return the protected features of each clamp, by its name; none where no prompt was read."""
    return {
        name: _of_clamp(spec, output, name, key)
        for name, key in output.graph.readings.items()
        if output.results[key].record is not None
    }


def _of_clamp(spec: Spec, output: Output, name: str, key: str) -> ProtectedFeatures:
    intervene = spec.intervenes[name]
    protect = spec.protects[intervene.protect]
    node = output.graph[output.graph[key].inputs["features"]]
    assert isinstance(node.step, SelectFeatures)
    selected = output.record(node.key, SelectedFeatures).rows
    readings = output.record(key, FeatureReadings)
    prompts = int(readings.finite_B.sum())
    covered = int(readings.covered_B.sum())
    ranks = _ranks(selected, node.step)
    features = []
    for number, sae in enumerate(protect.saes):
        own = [row for row in selected if row.sae == number]
        if not own:
            continue
        boundary = boundary_of(spec.saes[sae].reads)
        tokens, base, defended, active = (
            by[boundary].sum(0).tolist()
            for by in (readings.tokens, readings.base, readings.defended, readings.active)
        )
        source = spec.saes[sae].source
        page = neuronpedia(source.release, source.id) if isinstance(source, Release) else None
        features += [
            ProtectedFeature(
                sae=sae,
                id=row.feature,
                rank=ranks.get(row),
                effect=row.effect if row in ranks else None,
                tokens=tokens[at],
                value_base=base[at] / tokens[at] if tokens[at] else None,
                value_defended=defended[at] / tokens[at] if tokens[at] else None,
                active=active[at] / prompts if covered else None,
                neuronpedia=page and f"{page}/{row.feature}",
            )
            for at, row in enumerate(own)
        ]
    return ProtectedFeatures(
        intervene.protect, _ranked_by(protect.select), _written(intervene.at), intervene.when, prompts,
        covered, tuple(features),
    )  # fmt: skip


def _ranks(selected: tuple[SelectedFeature, ...], step: SelectFeatures) -> dict[SelectedFeature, int]:  # fmt: skip
    """Return the place of each feature among those of its ranking, from 1; none if they are listed."""
    if step.count is None:
        return {}
    groups = {row.sae for row in selected} if step.each else {None}
    ranked = sorted(selected, key=lambda row: -row.effect)
    return {
        row: place
        for sae in groups
        for place, row in enumerate((row for row in ranked if sae in (None, row.sae)), 1)
    }


def _ranked_by(select: object) -> str | None:
    """Return the effect that ranks a selection, as a spec writes it; None if it is a list."""
    if not isinstance(select, Top) or select.by is None:
        return None
    by = select.by
    if not isinstance(by, Attribution):
        return f"contrast({by.texts}, against = {by.against})"
    at = "" if by.at == Attribution(by.behavior).at else f", at = {_written(by.at)}"
    over = f", over = {by.over}" if by.over else ""
    return f"attribution({by.behavior}{at}{over})"


def _written(at: Positions) -> str:
    """Return positions as a spec writes them."""
    include, exclude = (
        words[0] if len(words) == 1 else f"[{', '.join(words)}]"
        for words in (at.include, at.exclude)
    )
    return f"{include} except {exclude}" if at.exclude else include
