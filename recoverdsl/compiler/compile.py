"""Compilation of a spec to a graph of typed steps. Nothing is loaded; the caller's function pins
sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen

from recoverdsl.compiler import steps
from recoverdsl.compiler.attacks import attack_steps, control_step
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
    RankByAttribution,
    RankByContrast,
    Recover,
    RunBase,
    RunDefended,
    SelectFeatures,
    SplitDelta,
)
from recoverdsl.compiler.support import examples_of, refuse_unsupported
from recoverdsl.language import schema
from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.budgets import limits_of
from recoverdsl.measure.keys import RowKind, TableKey, limit_text

SEARCH_STEPS = 16
"""Steps of steepest ascent per radius in the search of the smallest norm."""

Pin = Callable[
    [schema.Model | schema.Sae | schema.Data | schema.Classifier | schema.File | None], str
]
"""Returns the pin of a block's source: a digest of its content, or a revision. Of None, that of the
tool's own phrase lists."""


def compile_spec(spec: Spec, pin: Pin, platform: Mapping[str, str]) -> Graph:
    """Return the graph of a spec.

    Args:
        pin: resolves the source of a block to a string that changes when its content does.
        platform: versions of the libraries that compute, and the device; a part of every digest.

    Raises:
        NotYetError: the spec asks for something that this version cannot execute; it names all such
            places.
        SpecError: the spec has no model, data or behavior.
    """
    refuse_unsupported(spec)
    return _Compiler(spec, pin, Graph(platform)).graph_of_spec()


@frozen
class _Compiler:
    """The compilation of one spec, step by step."""

    spec: Spec
    pin: Pin
    graph: Graph
    common: dict[str, str] = field(factory=dict)
    """Inputs of every step that runs the defended model."""

    def graph_of_spec(self) -> Graph:
        """Add every step of the spec to the graph, and return it."""
        spec, add = self.spec, self.graph.add
        (model_name, model), *_ = spec.models.items()
        model_key = add(
            f"load model {model_name}", LoadModel(self.pin(model), model.dtype), of_block=model_name
        )
        (behavior_name, behavior_block), *_ = spec.behaviors.items()
        behavior = self._behavior(behavior_block)
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

        for name, attack in spec.attacks.items():
            for attacking in attack_steps(spec, name, defense, behavior):
                key = add(attacking.key, attacking.step, **self.common)
                self.graph.tables[TableKey("attack", name, attacking.limit)] = key
            if attack.find:
                self._find("smallest_norm", name, attack.find, key)
        for name, control in spec.controls.items():
            self._control(name, control, defense, behavior)
        for name, attribute in spec.attributes.items():
            self._attribute(name, attribute)
        tables = {str(table): key for table, key in self.graph.tables.items()}
        measure = add(
            "measure", Measure(dict(spec.measures)), base=base, defended=defended, flips=flips, **tables,
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
        """Add the SAEs and the selection of features, and make both inputs of the steps that follow."""
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
            ranked_by = spec.behaviors[by.behavior]
            ranking: steps.Step = RankByAttribution(ranked_by.score or ranked_by.holds, by.at)
        else:
            assert isinstance(by, schema.Contrast)
            ranking = RankByContrast()
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

    def _find(self, kind: RowKind, name: str, find: schema.SmallestNorm, found: str) -> None:
        step = self._recovery(found)
        self.graph.tables[TableKey(kind, name, step.limit)] = self.graph.add(
            f"find smallest norm, {name}", FindSmallestNorm(step, find.within, SEARCH_STEPS),
            **{**self.common, "found": found},
        )  # fmt: skip

    def _control(
        self, name: str, control: schema.Control, defense: Defense, behavior: steps.Behavior
    ) -> None:
        attack = self.spec.attacks[control.of]
        for limit in limits_of(self.spec, attack):
            step = control_step(self.spec, control, defense, behavior, limit)
            key = self.graph.add(f"control {name} at norm {limit_text(limit)}", step, **self.common)
            self.graph.tables[TableKey("control", name, limit)] = key
        if attack.find and control.target and control.on == "defended":
            self._find("smallest_norm_control", name, attack.find, key)

    def _attribute(self, name: str, attribute: schema.Attribute) -> None:
        limit = limits_of(self.spec, self.spec.attacks[name])[-1]
        found = self.graph.tables[TableKey("attack", name, limit)]
        parts = tuple(
            part.count if isinstance(part, schema.Top) else part for part in attribute.parts
        )
        self.graph.tables[TableKey("part", name, limit)] = self.graph.add(
            f"split {name}", SplitDelta(self._recovery(found), parts),
            **{**self.common, "found": found},
        )  # fmt: skip

    def _recovery(self, key: str) -> Recover:
        step = self.graph[key].step
        assert isinstance(step, Recover)
        return step
