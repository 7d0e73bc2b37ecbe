"""Spec → graph of typed steps. Nothing is loaded; sources are pinned by a function of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen

from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import (
    Defense,
    Disturbance,
    FindSmallestNorm,
    Judge,
    KeepValidFlips,
    LoadData,
    LoadModel,
    LoadSae,
    Measure,
    RandomDirections,
    Recover,
    RunBase,
    RunDefended,
    SelectFeatures,
)
from recoverdsl.compiler.support import refuse_what_cannot_run
from recoverdsl.language import schema
from recoverdsl.language.rules import limits_of
from recoverdsl.language.schema import Spec

STEPS = 100
"""Optimization steps of an attack that does not say (paper: single-layer schedule)."""

SEARCH_STEPS = 16
"""Steps of steepest ascent per radius in the search of the smallest norm."""

Pin = Callable[[schema.Model | schema.Sae | schema.Data], str]
"""Gives what pins a block's source: a digest of its content, or a revision."""


def compile_spec(spec: Spec, pin: Pin, platform: Mapping[str, str]) -> Graph:
    """The graph of a spec.

    Args:
        pin: resolves a model, SAE or data block to a string that changes when its content does.
        platform: what computes, a part of every digest.

    Raises:
        NotYetError: the spec asks for what this version cannot execute; all such places at once.
    """
    refuse_what_cannot_run(spec)
    return _Compiler(spec, pin, Graph(platform)).graph_of_spec()


@frozen
class _Compiler:
    spec: Spec
    pin: Pin
    graph: Graph
    shared: dict[str, str] = field(factory=dict)

    def graph_of_spec(self) -> Graph:
        spec, add = self.spec, self.graph.add
        (model_name, model), *_ = spec.models.items()
        (data_name, data), *_ = spec.data.items()
        model_key = add(f"load model {model_name}", LoadModel(self.pin(model), model.dtype))
        data_key = add(
            f"load data {data_name}", LoadData(self.pin(data), data.prompt, data.limit, data.chat)
        )
        (behavior_name, behavior), *_ = spec.behaviors.items()
        base = add(
            f"run base, {behavior_name}", RunBase(_score(behavior), behavior.holds),
            model=model_key, data=data_key,
        )  # fmt: skip
        if not spec.intervenes:
            return self.graph
        (intervene_name, intervene), *_ = spec.intervenes.items()
        protect = spec.protects[intervene.protect]
        (sae_name,) = protect.saes
        sae = spec.saes[sae_name]
        sae_key = add(
            f"load SAE {sae_name}", LoadSae(self.pin(sae), sae.reads.layer, sae.reads.side)
        )
        features = self._select(intervene.protect, protect, model_key, sae_key, data_key)
        common = {"model": model_key, "sae": sae_key, "data": data_key, "features": features}

        assert not isinstance(intervene.to, schema.MeanWhen)
        defense = Defense(intervene.to, intervene.when, intervene.at)
        defended = add(
            f"run defended, {intervene_name}",
            RunDefended(defense, _score(behavior), behavior.holds), **common,
        )  # fmt: skip
        flips = add("keep valid flips", KeepValidFlips(), base=base, defended=defended)

        tables: dict[str, str] = {}
        largest: dict[str, Recover] = {}
        for name, attack in spec.attacks.items():
            for limit in limits_of(spec, attack):
                step = self._recover(attack, defense, behavior, limit)
                key = add(f"recover {name} at norm {exactly(limit)}", step, flips=flips, **common)
                tables[f"attack {name} {exactly(limit)}"] = key
                largest[name] = step
            if attack.find:
                search = FindSmallestNorm(largest[name], attack.find.within, SEARCH_STEPS)
                tables[f"smallest_norm {name} {exactly(limit)}"] = add(
                    f"find smallest norm, {name}", search, flips=flips, found=key, **common
                )
        for name, control in spec.controls.items():
            attack = spec.attacks[control.of]
            for limit in limits_of(spec, attack):
                tables[f"control {name} {exactly(limit)}"] = add(
                    f"control {name} at norm {exactly(limit)}",
                    RandomDirections(
                        defense, _score(behavior), behavior.holds, largest[control.of].disturbance,
                        limit, control.draws, control.seed,
                    ),
                    flips=flips, **common,
                )  # fmt: skip
        measure = add(
            "measure",
            Measure(dict(spec.measures)),
            base=base,
            defended=defended,
            flips=flips,
            **tables,
        )
        add("judge", Judge(spec.expects), measure=measure)
        return self.graph

    def _select(self, name: str, protect: schema.Protect, model: str, sae: str, data: str) -> str:
        select = protect.select
        if isinstance(select, schema.Features):
            step = SelectFeatures(None, tuple(sorted({*select.ids})), None, None)
            return self.graph.add(f"select features {name}", step, sae=sae)
        assert isinstance(select.by, schema.Attribution)
        score = _score(self.spec.behaviors[select.by.behavior])
        step = SelectFeatures(select.count, None, score, select.by.at)
        return self.graph.add(f"select features {name}", step, model=model, sae=sae, data=data)

    def _recover(
        self, attack: schema.Attack, defense: Defense, behavior: schema.Behavior, limit: float
    ) -> Recover:
        assert isinstance(attack.maximize, str)
        budget = self.spec.budgets[attack.budget] if attack.budget else schema.Budget()
        return Recover(
            defense=defense,
            score=_score(behavior),
            holds=behavior.holds,
            disturbance=Disturbance(
                attack.perturb[0].positions, "orthogonal" if attack.preserve else "nothing"
            ),
            optimizer=attack.optimizer,
            steps=attack.steps or budget.steps or STEPS,
            limit=limit,
            stop=attack.stop,
        )


def exactly(limit: float) -> str:
    """A limit as short text that reads back as the same number."""
    return repr(float(limit)).removesuffix(".0")


def _score(behavior: schema.Behavior) -> schema.Score:
    assert behavior.score is not None
    return behavior.score
