"""Compilation of a spec to a graph of typed steps. Nothing is loaded; the caller's function pins
sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import evolve, field, frozen

from recoverdsl.compiler import steps
from recoverdsl.compiler.attacks import attack_steps, budgets_of_expectations, control_step
from recoverdsl.compiler.graph import Graph, Observed
from recoverdsl.compiler.steps import (
    ChooseTargets,
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
    ReachBehavior,
    Recover,
    RunBase,
    RunDefended,
    SelectFeatures,
    SplitDelta,
    Suffix,
    TryHarder,
    TryHarderSuffix,
    recover_of,
)
from recoverdsl.compiler.support import examples_of, refuse_unsupported
from recoverdsl.language import schema
from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.budgets import limits_of
from recoverdsl.language.schema.parts import Part, part_named
from recoverdsl.language.schema.unrelated import controls_of
from recoverdsl.language.schema.uses import behavior_of, target_of, tested
from recoverdsl.measure.keys import Budget, RowKind, TableKey, limit_text

SEARCH_STEPS = 16
"""Steps for each radius and each random start in the search of the smallest norm."""

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
        self.common.update(model=model_key, data=self._data(examples_of(spec)))
        for name in tested(spec):
            self.graph.behaviors[name] = Observed(self._base(name))
        if not spec.intervenes:
            return self.graph
        (intervene_name, intervene), *_ = spec.intervenes.items()
        self._select(intervene.protect)
        defense = self._defense(intervene_name, intervene)
        for name in self.graph.behaviors:
            self._flips(name, intervene_name, defense)

        for name, attack in spec.attacks.items():
            inputs = self._inputs(attack)
            for attacking in attack_steps(spec, name, defense, self._tested_by(attack)):
                key = add(attacking.key, attacking.step, **inputs)
                self.graph.tables[TableKey("attack", name, attacking.limit)] = key
            if attack.find:
                self._find("smallest_norm", name, attack.find, key)
        for name, control in controls_of(spec).items():
            self._control(name, control, defense)
        for name, attribute in spec.attributes.items():
            self._attribute(name, attribute)
        for budget in budgets_of_expectations(spec):
            self._try_harder(budget)
        tables = {str(table): key for table, key in self.graph.tables.items()}
        measure = add("measure", Measure(dict(spec.measures)), **self._observed(), **tables)
        harder = {str(budget): key for budget, key in self.graph.strength.items()}
        add("judge", JudgeExpectations(spec.expects), measure=measure, **harder)
        return self.graph

    # --- Behaviors --------------------------------------------------------------------------------

    def _base(self, name: str) -> str:
        """Add the step that runs a behavior without the clamp, and return its key."""
        step = RunBase(self._behavior(self.spec.behaviors[name]))
        inputs = {role: self.common[role] for role in ("model", "data")}
        return self.graph.add(f"run base, {name}", step, **inputs)

    def _flips(self, name: str, intervene: str, defense: Defense) -> None:
        """Add the steps that run a behavior under the clamp and keep its valid flips."""
        # With one behavior, keys are as short as they always were.
        of = f", {name}" if len(self.graph.behaviors) > 1 else ""
        base = self.graph.behaviors[name].base
        step = RunDefended(defense, self._behavior(self.spec.behaviors[name]))
        defended = self.graph.add(f"run defended, {intervene}{of}", step, **self.common)
        flips = self.graph.add(
            f"keep valid flips{of}", KeepValidFlips(), base=base, defended=defended
        )
        self.graph.behaviors[name] = Observed(base, defended, flips)

    def _tested_by(self, attack: schema.Attack) -> steps.Behavior:
        """Return the behavior that an attack tests."""
        return self._behavior(self.spec.behaviors[self._name_of(attack)])

    def _name_of(self, attack: schema.Attack) -> str:
        name = behavior_of(self.spec, attack)
        assert name is not None
        return name

    def _inputs(self, attack: schema.Attack) -> dict[str, str]:
        """Return the inputs of the steps of an attack, and of all that starts from it."""
        name = self._name_of(attack)
        observed = self.graph.behaviors[name]
        assert observed.flips is not None
        inputs = {**self.common, "flips": observed.flips}
        if self.spec.behaviors[name].generate is not None:
            inputs["base"] = observed.base
        return inputs

    def _observed(self) -> dict[str, str]:
        """Return the steps that observe behaviors by their roles as inputs of the measures."""
        roles: dict[str, str] = {}
        for number, (name, observed) in enumerate(self.graph.behaviors.items()):
            of = f" {name}" if number else ""
            assert observed.defended is not None
            assert observed.flips is not None
            roles |= {f"base{of}": observed.base, f"defended{of}": observed.defended, f"flips{of}": observed.flips}  # fmt: skip
        return roles

    # --- Blocks -----------------------------------------------------------------------------------

    def _data(self, name: str) -> str:
        data, part = self.spec.data[name], part_named(self.spec.data, name)
        whole = part == Part(limit=data.limit)
        return self.graph.add(
            f"load data {name}",
            LoadData(
                self.pin(data),
                data.prompt,
                data.answer,
                data.limit,
                data.chat,
                None if whole else part,
            ),
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

    def _select(self, name: str) -> None:
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
            if by.over:
                inputs["data"] = self._data(by.over)
        else:
            assert isinstance(by, schema.Contrast)
            ranking = RankByContrast()
            inputs["texts"] = self._data(by.texts)
            is_behavior = by.against in spec.behaviors
            inputs["against"] = self._base(by.against) if is_behavior else self._data(by.against)
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
        step, inputs = self._recovery(found), self.graph[found].inputs
        self.graph.tables[TableKey(kind, name, step.limit)] = self.graph.add(
            f"find smallest norm, {name}", FindSmallestNorm(step, find.within, SEARCH_STEPS, find.starts),
            **{**inputs, "found": found},
        )  # fmt: skip

    def _control(self, name: str, control: schema.Control, defense: Defense) -> None:
        attack = self.spec.attacks[control.of]
        inputs, target = self._inputs(attack), self._target(control)
        if target is not None:
            choose = ChooseTargets(defense, target)
            inputs["targets"] = self.graph.add(f"choose targets, {name}", choose, **inputs)
        for limit in limits_of(self.spec, attack) or (None,):
            step = control_step(self.spec, control, defense, self._tested_by(attack), limit, target)
            at = "" if limit is None else f" at norm {limit_text(limit)}"
            key = self.graph.add(f"control {name}{at}", step, **inputs)
            self.graph.tables[TableKey("control", name, limit)] = key
            if isinstance(step, steps.RandomDirections) and step.recover.preserve:
                free = evolve(step, recover=evolve(step.recover, preserve=None))
                table = TableKey("unconstrained_control", name, limit)
                self.graph.tables[table] = self.graph.add(
                    f"control {name} without its constraint{at}", free, **inputs
                )
        if attack.find and (target or (control.target and control.on == "defended")):
            self._find("smallest_norm_control", name, attack.find, key)

    def _target(self, control: schema.Control) -> ReachBehavior | None:
        """Return the goal of a control that has a behavior as its target."""
        name = target_of(control)
        if name is None:
            return None
        another = isinstance(control.target, schema.BehaviorOf)
        behavior = self._behavior(self.spec.behaviors[name])
        return ReachBehavior(behavior, "another" if another else "own")

    def _attribute(self, name: str, attribute: schema.Attribute) -> None:
        limit = limits_of(self.spec, self.spec.attacks[name])[-1]
        found = self.graph.tables[TableKey("attack", name, limit)]
        parts = tuple(
            part.count if isinstance(part, schema.Top) else part for part in attribute.parts
        )
        self.graph.tables[TableKey("part", name, limit)] = self.graph.add(
            f"split {name}", SplitDelta(self._recovery(found), parts),
            **{**self.graph[found].inputs, "found": found},
        )  # fmt: skip

    def _try_harder(self, budget: Budget) -> None:
        attack = self.spec.attacks[budget.attack]
        if not attack.checks:
            return
        limit = limits_of(self.spec, attack)[-1] if budget.least else budget.limit
        kind: RowKind = "smallest_norm" if budget.least else "attack"
        found = self.graph.tables[TableKey(kind, budget.attack, limit)]
        inputs = {**self.graph[found].inputs, "found": found}
        if isinstance(suffix := self.graph[found].step, Suffix):
            self.graph.strength[budget] = self.graph.add(
                f"try harder, {budget.attack}",
                TryHarderSuffix(suffix, attack.checks, seed=0),
                **inputs,
            )
            return
        recover = recover_of(self.graph[found].step)
        if budget.least:
            assert budget.limit is not None
            (stage,) = recover.stages
            recover = evolve(recover, stages=(evolve(stage, limit=budget.limit),))
        of = "the least norm of " if budget.least else ""
        self.graph.strength[budget] = self.graph.add(
            f"try harder, {of}{budget.attack} at norm {limit_text(recover.limit)}",
            TryHarder(recover, attack.checks, seed=0),
            **inputs,
        )

    def _recovery(self, key: str) -> Recover:
        step = self.graph[key].step
        assert isinstance(step, Recover)
        return step
