"""Compilation of a spec to a graph of typed steps. Nothing is loaded; the caller's function pins
sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import evolve, field, frozen

from recoverdsl.compiler import steps
from recoverdsl.compiler.attacks import attack_steps, budgets_of_expectations, control_step
from recoverdsl.compiler.graph import Graph, Observed, SideEffects
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
    MeasureMoves,
    MeasureTextEffects,
    MultipleOfMean,
    RankByAttribution,
    RankByContrast,
    ReachBehavior,
    ReachHarder,
    ReadFeatures,
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
from recoverdsl.language.schema.unrelated import controls_of, limits_of_control
from recoverdsl.language.schema.uses import behavior_of, clamp_of, target_of, tested
from recoverdsl.measure.keys import Budget, RowKind, TableKey, limit_text
from recoverdsl.measure.ordinary_text import digest_of

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
class _Clamp:
    """A clamp, compiled."""

    defense: Defense
    inputs: dict[str, str]
    """Inputs of every step that runs the model under it."""


@frozen
class _Compiler:
    """The compilation of one spec, step by step."""

    spec: Spec
    pin: Pin
    graph: Graph
    base: dict[str, str] = field(factory=dict)
    """Inputs of every step that runs the model: the model and the examples."""
    clamps: dict[str, _Clamp] = field(factory=dict)
    """The clamps by their names, in the order of the spec."""

    def graph_of_spec(self) -> Graph:
        """Add every step of the spec to the graph, and return it."""
        spec, add = self.spec, self.graph.add
        (model_name, model), *_ = spec.models.items()
        model_key = add(
            f"load model {model_name}", LoadModel(self.pin(model), model.dtype), of_block=model_name
        )
        self.base.update(model=model_key, data=self._data(examples_of(spec)))
        for name in tested(spec):
            self.graph.behaviors[name] = self._base(name)
        if not spec.intervenes:
            return self.graph
        for name, intervene in spec.intervenes.items():
            self.clamps[name] = self._clamp(name, intervene)
            self.graph.clamps[name] = {
                behavior: self._flips(behavior, name) for behavior in self.graph.behaviors
            }
            reading = ReadFeatures(self.clamps[name].defense)
            self.graph.readings[name] = add(
                f"read features, {name}", reading, **self.clamps[name].inputs
            )
            self._side_effects(name, intervene)

        for name, attack in spec.attacks.items():
            defense, inputs = self.clamps[self._under(attack)].defense, self._inputs(attack)
            for attacking in attack_steps(spec, name, defense, self._tested_by(attack)):
                key = add(attacking.key, attacking.step, **inputs)
                self.graph.tables[TableKey("attack", name, attacking.limit)] = key
            if attack.find:
                self._find("smallest_norm", name, attack.find, key)
        for name, control in controls_of(spec).items():
            self._control(name, control)
        for name, attribute in spec.attributes.items():
            self._attribute(name, attribute)
        for budget in budgets_of_expectations(spec):
            self._try_harder(budget)
            self._reach_harder(budget)
        tables = {str(table): key for table, key in self.graph.tables.items()}
        readings = {f"readings {name}": key for name, key in self.graph.readings.items()}
        measured = {
            f"{role} of {name}": key
            for name, effects in self.graph.side_effects.items()
            for role, key in (("text", effects.text), ("moves", effects.moves))
        }
        measure = add(
            "measure",
            Measure(dict(spec.measures)),
            **self._observed(),
            **readings,
            **tables,
            **measured,
        )
        harder = {str(budget): key for budget, key in self.graph.strength.items()}
        harder |= {
            f"{control} of {budget}": key
            for budget, controls in self.graph.unrelated.items()
            for control, key in controls.items()
        }
        add("judge", JudgeExpectations(spec.expects), measure=measure, **harder)
        return self.graph

    # --- Behaviors --------------------------------------------------------------------------------

    def _base(self, name: str) -> str:
        """Add the step that runs a behavior without the clamp, and return its key."""
        step = RunBase(self._behavior(self.spec.behaviors[name]))
        return self.graph.add(f"run base, {name}", step, **self.base)

    def _flips(self, name: str, clamp_name: str) -> Observed:
        """Add the steps that run a behavior under a clamp and keep its valid flips, and return their keys."""
        clamp, base = self.clamps[clamp_name], self.graph.behaviors[name]
        # With one behavior or one clamp, keys are as short as they always were.
        of = f", {name}" if len(self.graph.behaviors) > 1 else ""
        under = f", {clamp_name}" if len(self.spec.intervenes) > 1 else ""
        step = RunDefended(clamp.defense, self._behavior(self.spec.behaviors[name]))
        defended = self.graph.add(f"run defended, {clamp_name}{of}", step, **clamp.inputs)
        flips = self.graph.add(
            f"keep valid flips{under}{of}", KeepValidFlips(), base=base, defended=defended
        )
        return Observed(base, defended, flips)

    def _tested_by(self, attack: schema.Attack) -> steps.Behavior:
        """Return the behavior that an attack tests."""
        return self._behavior(self.spec.behaviors[self._name_of(attack)])

    def _name_of(self, attack: schema.Attack) -> str:
        name = behavior_of(self.spec, attack)
        assert name is not None
        return name

    def _under(self, attack: schema.Attack) -> str:
        """Return the clamp that an attack is under."""
        name = clamp_of(self.spec, attack)
        assert name is not None
        return name

    def _inputs(self, attack: schema.Attack) -> dict[str, str]:
        """Return the inputs of the steps of an attack, and of all that starts from it."""
        name, clamp = self._name_of(attack), self._under(attack)
        observed = self.graph.clamps[clamp][name]
        inputs = {**self.clamps[clamp].inputs, "flips": observed.flips}
        if self.spec.behaviors[name].generate is not None:
            inputs["base"] = observed.base
        return inputs

    def _observed(self) -> dict[str, str]:
        """Return the steps that observe behaviors by their roles as inputs of the measures."""
        roles: dict[str, str] = {}
        for at, behaviors in enumerate(self.graph.clamps.values()):
            for number, (name, observed) in enumerate(behaviors.items()):
                # Of the first clamp and behavior, roles are as short as they always were.
                of = f" {name}" * (number > 0) + f" under {at}" * (at > 0)
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

    def _clamp(self, name: str, intervene: schema.Intervene) -> _Clamp:
        """Add the SAEs, the features and the means of a clamp, and return it."""
        inputs, to = self._select(intervene.protect), intervene.to
        if not isinstance(to, schema.MeanWhen):
            return _Clamp(Defense(to, intervene.when, intervene.at), inputs)
        texts = self._data(to.data)
        key = f"mean activations, {name}"
        inputs["means"] = self.graph.add(key, MeanActivations(), **inputs, texts=texts)
        value = MultipleOfMean(to.factor)
        return _Clamp(Defense(value, intervene.when, intervene.at), inputs)

    def _select(self, name: str) -> dict[str, str]:
        """Add the SAEs and the selection of features, and return the inputs of the steps that clamp them."""
        spec, protect = self.spec, self.spec.protects[name]
        saes: dict[str, str] = {}
        for number, sae_name in enumerate(protect.saes):
            sae = spec.saes[sae_name]
            saes[f"sae {number}"] = self.graph.add(
                f"load SAE {sae_name}",
                LoadSae(self.pin(sae), sae.reads.layer, sae.reads.side),
                of_block=sae_name,
            )
        select, key = protect.select, f"select features {name}"
        if isinstance(select, tuple):
            ids = tuple(
                tuple(sorted({id for one in select if (one.of or sae_name) == sae_name for id in one.ids}))
                for sae_name in protect.saes
            )  # fmt: skip
            features = self.graph.add(key, SelectFeatures(ids), **saes)
            return {**self.base, **saes, "features": features}
        by, inputs = select.by, {**self.base, **saes}
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
        features = self.graph.add(key, chosen, **saes, ranking=ranked)
        return {**self.base, **saes, "features": features}

    def _side_effects(self, name: str, intervene: schema.Intervene) -> None:
        """Add the steps that measure what a clamp does besides removing the behavior."""
        count, clamp = intervene.ordinary_texts, self.clamps[name]
        if not count:
            return
        of_clamp = {role: key for role, key in clamp.inputs.items() if role != "data"}
        on_text = MeasureTextEffects(clamp.defense, digest_of(count), count)
        text = self.graph.add(f"measure on ordinary text, {name}", on_text, **of_clamp)
        inputs = dict(clamp.inputs)
        for behavior, observed in self.graph.clamps[name].items():
            if self.spec.behaviors[behavior].generate:
                inputs["written"] = observed.defended
        moves = self.graph.add(
            f"measure moved states, {name}", MeasureMoves(clamp.defense), **inputs
        )
        self.graph.side_effects[name] = SideEffects(text, moves)

    # --- Attacks ----------------------------------------------------------------------------------

    def _find(self, kind: RowKind, name: str, find: schema.SmallestNorm, found: str) -> None:
        step, inputs = self._recovery(found), self.graph[found].inputs
        self.graph.tables[TableKey(kind, name, step.limit)] = self.graph.add(
            f"find smallest norm, {name}", FindSmallestNorm(step, find.within, SEARCH_STEPS, find.starts),
            **{**inputs, "found": found},
        )  # fmt: skip

    def _control(self, name: str, control: schema.Control) -> None:
        attack = self.spec.attacks[control.of]
        defense = self.clamps[self._under(attack)].defense
        inputs, target = self._inputs(attack), self._target(control)
        if target is not None:
            inputs["targets"] = self._choose(name, ChooseTargets(defense, target), inputs)
        for limit in limits_of_control(self.spec, name) or (None,):
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
        # Only what the spec itself asks for without the clamp is searched at more than its limits.
        asked = name in self.spec.controls or control.on == "defended"
        if attack.find and asked and (target or (control.target and control.on == "defended")):
            self._find("smallest_norm_control", name, attack.find, key)

    def _choose(self, name: str, choose: ChooseTargets, inputs: dict[str, str]) -> str:
        """Return the key of the step that chooses targets; controls that differ in the clamp share it."""
        same = (n.key for n in self.graph if n.step == choose and n.inputs == inputs)
        return next(same, None) or self.graph.add(f"choose targets, {name}", choose, **inputs)

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
        recover = self._searched(found, budget)
        if isinstance(recover, Suffix):
            self.graph.strength[budget] = self.graph.add(
                f"try harder, {budget.attack}",
                TryHarderSuffix(recover, attack.checks, seed=0),
                **inputs,
            )
            return
        of = "the least norm of " if budget.least else ""
        self.graph.strength[budget] = self.graph.add(
            f"try harder, {of}{budget.attack} at norm {limit_text(recover.limit)}",
            TryHarder(recover, attack.checks, seed=0),
            **inputs,
        )

    def _reach_harder(self, budget: Budget) -> None:
        """Add the steps that search the unrelated targets harder with which a budget is compared."""
        attack = self.spec.attacks[budget.attack]
        if not attack.checks:
            return
        limit = limits_of(self.spec, attack)[-1] if budget.least else budget.limit
        kinds: tuple[RowKind, RowKind] = ("attack", "control")
        if budget.least:
            kinds = ("smallest_norm", "smallest_norm_control")
        own = self.graph.tables[TableKey(kinds[0], budget.attack, limit)]
        # Which of them is compared depends on which flips have such a target.
        for name, control in controls_of(self.spec).items():
            if control.of != budget.attack or control.on != "defended" or not control.target:
                continue
            found = self.graph.tables.get(TableKey(kinds[1], name, limit))
            if found is None:
                continue
            of = "the least norm of " if budget.least else ""
            at = "" if budget.limit is None else f" at norm {limit_text(budget.limit)}"
            self.graph.unrelated.setdefault(budget, {})[name] = self.graph.add(
                f"reach harder, {of}{name}{at}",
                ReachHarder(self._searched(found, budget)),
                **{**self.graph[found].inputs, "found": found, "own": own},
            )

    def _searched(self, found: str, budget: Budget) -> Recover | Suffix:
        """Return the search of a step, of a least norm within the limit of a budget."""
        step = self.graph[found].step
        if isinstance(step, Suffix):
            return step
        recover = recover_of(step)
        if not budget.least:
            return recover
        assert budget.limit is not None
        (stage,) = recover.stages
        return evolve(recover, stages=(evolve(stage, limit=budget.limit),))

    def _recovery(self, key: str) -> Recover:
        step = self.graph[key].step
        assert isinstance(step, Recover)
        return step
