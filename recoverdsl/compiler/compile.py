"""Spec → graph of typed steps. Nothing is loaded; sources are pinned by a function of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import evolve, field, frozen

from recoverdsl.compiler import steps
from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import (
    Defense,
    FindSmallestNorm,
    JudgeExpectations,
    KeepValidFlips,
    LoadData,
    LoadModel,
    LoadSae,
    MeanActivations,
    Measure,
    MultipleOfMean,
    Place,
    RandomDirections,
    RankFeatures,
    Recover,
    RunBase,
    RunDefended,
    SelectFeatures,
    SplitDelta,
    Stage,
    Suffix,
)
from recoverdsl.compiler.support import examples_of, refuse_what_cannot_run
from recoverdsl.language import schema
from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.budgets import limits_of, suffix_of

STEPS = 100
"""Optimization steps of an attack that does not say (paper: single-layer schedule)."""

SEARCH_STEPS = 16
"""Steps of steepest ascent per radius in the search of the smallest norm."""

Pin = Callable[
    [schema.Model | schema.Sae | schema.Data | schema.Classifier | schema.File | None], str
]
"""Gives what pins a block's source: a digest of its content, or a revision. None: the tool's own
phrase lists."""


def compile_spec(spec: Spec, pin: Pin, platform: Mapping[str, str]) -> Graph:
    """The graph of a spec.

    Args:
        pin: resolves the source of a block to a string that changes when its content does.
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
    common: dict[str, str] = field(factory=dict)
    """Inputs of every step that runs the defended model."""
    tables: dict[str, str] = field(factory=dict)
    """Steps that make rows of the example table, by kind, name and limit."""

    def graph_of_spec(self) -> Graph:
        spec, add = self.spec, self.graph.add
        (model_name, model), *_ = spec.models.items()
        model_key = add(
            f"load model {model_name}", LoadModel(self.pin(model), model.dtype), of_block=model_name
        )
        (behavior_name, written), *_ = spec.behaviors.items()
        behavior = self._behavior(written)
        data_key = self._data(examples_of(spec))
        base = add(f"run base, {behavior_name}", RunBase(behavior), model=model_key, data=data_key)
        if not spec.intervenes:
            return self.graph
        (intervene_name, intervene), *_ = spec.intervenes.items()
        self.common.update(model=model_key, data=data_key)
        self._select(intervene.protect, base)
        defense = self._defense(intervene_name, intervene)
        defended = add(
            f"run defended, {intervene_name}", RunDefended(defense, behavior), **self.common
        )
        flips = add("keep valid flips", KeepValidFlips(), base=base, defended=defended)
        self.common.update(flips=flips)
        if behavior.generate is not None:
            self.common.update(base=base)

        found = {}
        for name, attack in spec.attacks.items():
            if suffix_of(attack):
                key = add(f"suffix {name}", self._suffix(attack, defense, behavior), **self.common)
                self.tables[f"attack {name} none"] = key
                continue
            for limit in limits_of(spec, attack):
                step = self._recover(attack, defense, behavior, limit)
                key = add(f"recover {name} at norm {exactly(limit)}", step, **self.common)
                self.tables[f"attack {name} {exactly(limit)}"] = key
            found[name] = key
            if attack.find:
                self._find("smallest_norm", name, attack.find, key, limit)
        for name, control in spec.controls.items():
            self._control(name, control, defense, behavior)
        for name, attribute in spec.attributes.items():
            self._attribute(name, attribute, found[name])
        measure = add(
            "measure", Measure(dict(spec.measures)), base=base, defended=defended, flips=flips,
            **self.tables,
        )  # fmt: skip
        add("judge", JudgeExpectations(spec.expects), measure=measure)
        return self.graph

    # --- Blocks -----------------------------------------------------------------------------------

    def _data(self, name: str) -> str:
        data = self.spec.data[name]
        return self.graph.add(
            f"load data {name}",
            LoadData(self.pin(data), data.prompt, data.answer, data.limit, data.chat),
            of_block=name,
        )

    def _behavior(self, behavior: schema.Behavior) -> steps.Behavior:
        if behavior.generate is None:
            return steps.Behavior(behavior.holds, behavior.removed, behavior.score)
        judge = behavior.judge
        return steps.Behavior(
            holds=behavior.holds,
            removed=behavior.removed,
            generate=behavior.generate.tokens,
            phrases=self.pin(behavior.phrases),
            judge=steps.Judge(self.pin(judge), judge.label, judge.with_prompt) if judge else None,
        )

    def _select(self, name: str, base: str) -> None:
        """Adds the SAEs and the selection of features, and makes both inputs of what follows."""
        spec, protect = self.spec, self.spec.protects[name]
        for number, sae_name in enumerate(protect.saes):
            sae = spec.saes[sae_name]
            self.common[f"sae {number}"] = self.graph.add(
                f"load SAE {sae_name}",
                LoadSae(self.pin(sae), sae.reads.layer, sae.reads.side),
                of_block=sae_name,
            )
        select, key = protect.select, f"select features {name}"
        saes = {role: at for role, at in self.common.items() if role.startswith("sae ")}
        if isinstance(select, tuple):
            ids = tuple(
                tuple(sorted({id for one in select if (one.of or sae_name) == sae_name for id in one.ids}))
                for sae_name in protect.saes
            )  # fmt: skip
            self.common["features"] = self.graph.add(key, SelectFeatures(ids), **saes)
            return
        by, inputs = select.by, dict(self.common)
        if isinstance(by, schema.Attribution):
            ranking = RankFeatures("attribution", spec.behaviors[by.behavior].score, by.at)
        else:
            assert isinstance(by, schema.Contrast)
            ranking = RankFeatures("contrast")
            inputs["texts"] = self._data(by.texts)
            inputs["against"] = base if by.against in spec.behaviors else self._data(by.against)
        ranked = self.graph.add(f"rank features {name}", ranking, **inputs)
        chosen = SelectFeatures(count=select.count, each=select.each)
        self.common["features"] = self.graph.add(key, chosen, **saes, ranking=ranked)

    def _defense(self, name: str, intervene: schema.Intervene) -> Defense:
        to = intervene.to
        if not isinstance(to, schema.MeanWhen):
            return Defense(to, intervene.when, intervene.at)
        inputs = {**self.common, "texts": self._data(to.data)}
        self.common["means"] = self.graph.add(
            f"mean activations, {name}", MeanActivations(), **inputs
        )
        return Defense(MultipleOfMean(to.factor), intervene.when, intervene.at)

    # --- Attacks ----------------------------------------------------------------------------------

    def _recover(
        self,
        attack: schema.Attack,
        defense: Defense | None,
        behavior: steps.Behavior,
        limit: float,
    ) -> Recover:
        budget = self.spec.budgets[attack.budget] if attack.budget else schema.Budget()
        stages = tuple(
            Stage(
                self._places(stage.perturb), stage.optimizer or attack.optimizer, stage.steps,
                stage.limit.norms[-1],
            )
            for stage in attack.stages
        ) or (
            Stage(
                self._places(attack.perturb), attack.optimizer, attack.steps or budget.steps or STEPS,
                limit,
            ),
        )  # fmt: skip
        answer = isinstance(attack.maximize, schema.LogProb)
        return Recover(
            defense=defense,
            behavior=behavior,
            stages=stages,
            preserve=_PRESERVE[type(attack.preserve)],
            probes=attack.preserve.probes
            if isinstance(attack.preserve, schema.JacobianSketch)
            else 0,
            goal="own_answer" if answer else "score",
            target_tokens=attack.maximize.tokens
            if isinstance(attack.maximize, schema.LogProb)
            else None,
            stop=attack.stop,
            forward_passes=attack.forward_passes or budget.forward_passes,
        )

    def _places(self, perturb: tuple[schema.Perturbation, ...]) -> tuple[Place, ...]:
        sites = (
            (self.spec.saes[p.place].reads if isinstance(p.place, str) else p.place, p.positions)
            for p in perturb
        )
        return tuple(Place(site.layer, site.side, positions) for site, positions in sites)

    def _suffix(self, attack: schema.Attack, defense: Defense, behavior: steps.Behavior) -> Suffix:
        budget = self.spec.budgets[attack.budget] if attack.budget else schema.Budget()
        assert isinstance(attack.maximize, schema.LogProb)
        gcg = attack.token_suffix
        tokens = gcg.tokens if gcg else attack.soft_suffix
        assert tokens is not None
        return Suffix(
            defense=defense,
            behavior=behavior,
            tokens=tokens,
            steps=attack.steps or budget.steps or STEPS,
            optimizer=None if gcg else attack.optimizer,
            candidates=gcg.candidates if gcg else 0,
            top=gcg.top if gcg else 0,
            keep=attack.keep or 0.0,
            target_tokens=attack.maximize.tokens,
            stop=attack.stop,
            forward_passes=attack.forward_passes or budget.forward_passes,
        )

    def _find(
        self, kind: str, name: str, find: schema.SmallestNorm, found: str, limit: float
    ) -> None:
        step = self.graph[found].step
        assert isinstance(step, Recover)
        self.tables[f"{kind} {name} {exactly(limit)}"] = self.graph.add(
            f"find smallest norm, {name}", FindSmallestNorm(step, find.within, SEARCH_STEPS),
            **{**self.common, "found": found},
        )  # fmt: skip

    def _control(
        self, name: str, control: schema.Control, defense: Defense, behavior: steps.Behavior
    ) -> None:
        attack = self.spec.attacks[control.of]
        for limit in limits_of(self.spec, attack):
            if control.method == "random_direction":
                recover = _without_search(self._recover(attack, defense, behavior, limit))
                step: steps.Step = RandomDirections(recover, control.draws, control.seed)
            else:
                shown = None if control.on == "undefended" else defense
                recover = self._recover(attack, shown, behavior, limit)
                step = evolve(recover, goal="another_answer") if control.target else recover
            key = self.graph.add(f"control {name} at norm {exactly(limit)}", step, **self.common)
            self.tables[f"control {name} {exactly(limit)}"] = key
        if attack.find and control.target and control.on == "defended":
            self._find("smallest_norm_control", name, attack.find, key, limit)

    def _attribute(self, name: str, attribute: schema.Attribute, found: str) -> None:
        recover = self.graph[found].step
        assert isinstance(recover, Recover)
        parts = tuple(
            part.count if isinstance(part, schema.Top) else part for part in attribute.parts
        )
        limit = limits_of(self.spec, self.spec.attacks[name])[-1]
        self.tables[f"part {name} {exactly(limit)}"] = self.graph.add(
            f"split {name}", SplitDelta(recover, parts), **{**self.common, "found": found}
        )


def _without_search(recover: Recover) -> Recover:
    """An attack of the same place, constraint and limits, whatever its optimizer, steps and passes."""
    stages = tuple(evolve(s, optimizer=schema.Adam(), steps=0) for s in recover.stages)
    return evolve(recover, stages=stages, stop="recovered", forward_passes=None)


_PRESERVE: dict[type, steps.Preserve] = {
    type(None): "nothing",
    schema.Orthogonal: "orthogonal",
    schema.Jacobian: "jacobian",
    schema.JacobianSketch: "jacobian_sketch",
    schema.ByConstruction: "by_construction",
}


def exactly(limit: float) -> str:
    """A limit as short text that reads back as the same number."""
    return repr(float(limit)).removesuffix(".0")
