"""What must hold between the values of a spec, beyond the type of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sized
from typing import Literal

from recoverdsl.language import schema
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.nodes import Span
from recoverdsl.language.schema import METRICS, Attack, Spec
from recoverdsl.language.suggest import suggest

_START = Span(0, 0, 1, 1, 1, 1)

_GENERATE = "add `generate = greedy(tokens = 48)`"

_NOT_CLAMPED = {
    "target_tokens": "write `generated`: every position after the prompt",
    "every_generated_token": "write `generated`: every position after the prompt",
}
_NOT_PERTURBED = {
    "generated": "write `target_tokens`, one vector for each token of the target answer, or"
    " `every_generated_token`, one vector for all generated positions"
}
"""Position words that have no meaning in a clamp, and in a perturbation, with what to write."""


def check_meaning(spec: Spec, report: Collector) -> None:
    """Report every rule that is broken. Blocks that could not be read are not in the spec."""
    rules = _Rules(spec, report)
    for name, model in spec.models.items():
        rules.model(f"model.{name}", model)
    for name, sae in spec.saes.items():
        rules.source(f"sae.{name}", sae.source, sae.sha256)
    for name, data in spec.data.items():
        rules.source(f"data.{name}", data.source, None)
    for name, behavior in spec.behaviors.items():
        rules.behavior(f"behavior.{name}", behavior)
    for name, protect in spec.protects.items():
        rules.protect(f"protect.{name}", protect)
    for name, intervene in spec.intervenes.items():
        rules.positions(f"intervene.{name}.at", intervene.at, _NOT_CLAMPED, "a clamp acts at no")
    for name, attack in spec.attacks.items():
        rules.attack(f"attack.{name}", attack)
    for name, control in spec.controls.items():
        rules.control(f"control.{name}", control)
    for name in spec.attributes:
        rules.has_delta(f"attribute.{name}", name, "split into parts")
    for name in spec.measures:
        rules.metric(f"measure.{name}", name)
    for i, expectation in enumerate(spec.expects):
        rules.expectation(f"expect.{i}", expectation)


def limits_of(spec: Spec, attack: Attack) -> tuple[float, ...]:
    """The budgets that an attack runs with: its own, or those of its budget block.

    Stages have one between them, the norm of what they may spend at positions of their own: the
    root of the sum of the squares of their limits, to 10 digits. A suffix has none.
    """
    if suffix_of(attack):
        return ()
    if attack.stages:
        return (float(f"{math.hypot(*(max(stage.limit.norms) for stage in attack.stages)):.10g}"),)
    if attack.limit:
        return attack.limit.norms
    budget = spec.budgets.get(attack.budget) if attack.budget else None
    return budget.limit.norms if budget and budget.limit else ()


def suffix_of(attack: Attack) -> Literal["soft_suffix", "token_suffix"] | None:
    """Which kind of suffix an attack searches; None if it perturbs the residual stream."""
    if attack.soft_suffix is not None:
        return "soft_suffix"
    return "token_suffix" if attack.token_suffix is not None else None


class _Rules:
    def __init__(self, spec: Spec, report: Collector) -> None:
        self.spec, self.report = spec, report

    def _add(
        self,
        code: str,
        message: str,
        path: str,
        *,
        help: str | None = None,
        why: str | None = None,
        related: tuple[str, str] | None = None,
    ) -> None:
        """Report at an attribute, or at the head of its block where it is not written."""
        span = self._span(path)
        also = [(self._span(related[0]), related[1])] if related else []
        self.report.add(code, message, span, help=help, why=why, related=also)

    def _span(self, path: str) -> Span:
        while path not in self.spec.spans and "." in path:
            path = path.rpartition(".")[0]
        span: Span = self.spec.spans.get(path, _START)
        return span

    def model(self, path: str, model: schema.Model) -> None:
        if isinstance(model.source, schema.PyPI):
            if not re.fullmatch(
                r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*",
                model.source.requirement,
            ):
                self._add(
                    "REC311",
                    "this is not one release of a package",
                    f"{path}.from",
                    help='such as `pypi("name==1.0", file = "…")`',
                )
            if model.sha256 is None:
                self._add(
                    "REC402",
                    "a model from `pypi` needs its `sha256`",
                    path,
                    help='add `sha256 = "…"`, the digest of the weight file',
                )
        self.source(path, model.source, model.sha256)

    def source(self, path: str, source: object, sha256: str | None, key: str = "from") -> None:
        if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
            self._add(
                "REC306",
                "this is not a sha256",
                f"{path}.sha256",
                why=f"it has {len(sha256)} characters; 64 hexadecimal digits are needed",
            )
        if isinstance(source, schema.HuggingFace) and not re.fullmatch(
            r"[0-9a-f]{40}", source.revision or ""
        ):
            self._add(
                "REC403",
                "this repository is not pinned to a commit",
                f"{path}.{key}",
                help='add `revision = "…"` with the 40 digits of a commit, or write a lock: `recoverdsl lock`',
            )
        if isinstance(source, schema.Release) and sha256 is None:
            self._add(
                "REC403",
                "the weights of this release are not pinned",
                f"{path}.{key}",
                help='add `sha256 = "…"`, the digest of its weight file, or write a lock: `recoverdsl lock`',
            )

    def behavior(self, path: str, behavior: schema.Behavior) -> None:
        predicates = {"holds": behavior.holds, "removed": behavior.removed}
        for key, predicate in predicates.items():
            if predicate:
                self._condition(f"{path}.{key}", key, set(_reads(predicate)), behavior)
        if behavior.generate is None:
            for key, given in (("phrases", behavior.phrases), ("judge", behavior.judge)):
                if given is not None:
                    message = f"`{key}` is for a text that this behavior does not generate"
                    self._add("REC408", message, f"{path}.{key}", help=_GENERATE)
        if behavior.judge:
            self.source(path, behavior.judge.source, None, "judge")

    def _condition(self, path: str, key: str, reads: set[str], behavior: schema.Behavior) -> None:
        """`holds` or `removed`: what it reads has to be there."""
        if "score" in reads and behavior.score is None:
            message = f"`{key}` compares a score that this behavior does not have"
            self._add("REC407", message, path, help="add `score = …`")
        if "judge" in reads and behavior.judge is None:
            message = f"`{key}` compares a judge that this behavior does not have"
            help = 'add `judge = classifier(…, label = "…")`'
            self._add("REC413", message, path, help=help)
        if reads & set(schema.DETECTORS) and behavior.generate is None:
            message = f"`{key}` judges a text that this behavior does not generate"
            self._add("REC408", message, path, help=_GENERATE)

    def protect(self, path: str, protect: schema.Protect) -> None:
        select = protect.select
        if isinstance(select, schema.Top):
            if select.by is None:
                self._add(
                    "REC305",
                    "`top` needs `by` here: what ranks the features",
                    f"{path}.select",
                    help="add `by = attribution(…)` or `by = contrast(…)`",
                )
            if isinstance(select.by, schema.Attribution):
                self._scored(select.by.behavior, f"{path}.select", "attributed")
            return
        for features in select:
            if features.of is None and len(set(protect.saes)) > 1:
                self._add(
                    "REC414",
                    "there are several SAEs, and these features do not say which numbers them",
                    f"{path}.select",
                    help=f"write `[features(…, of = {protect.saes[0]}), …]`",
                    related=(f"{path}.in", "the SAEs are here"),
                )
            elif features.of is not None and features.of not in protect.saes:
                self._add(
                    "REC414",
                    f"`{features.of}` is not among the SAEs of this block",
                    f"{path}.select",
                    help=suggest(features.of, protect.saes, "its SAEs"),
                    related=(f"{path}.in", "the SAEs are here"),
                )

    def positions(
        self, path: str, positions: schema.Positions, wrong: Mapping[str, str], message: str
    ) -> None:
        """Report words that say nothing here."""
        for word, help in wrong.items():
            if word in positions.include + positions.exclude:
                self._add("REC419", f"{message} `{word}`", path, help=help)

    def _scored(self, name: str, path: str, doing: str) -> None:
        behavior = self.spec.behaviors.get(name)
        if behavior and behavior.score is None:
            self._add(
                "REC407", f"`{name}` has no score that could be {doing}", path, help="give it a `score`",
                related=(f"behavior.{name}", f"`{name}` is defined here"),
            )  # fmt: skip

    def attack(self, path: str, attack: Attack) -> None:
        spec = self.spec
        if isinstance(attack.maximize, str):
            self._scored(attack.maximize, f"{path}.maximize", "maximized")
        elif not any(b.generate for b in spec.behaviors.values()) and self._all_read(
            "behavior", spec.behaviors
        ):
            self._add(
                "REC408",
                "there is no base answer: no behavior generates a text",
                f"{path}.maximize",
                help=f"{_GENERATE} to a behavior",
            )
        if suffix := suffix_of(attack):
            self._suffix(path, attack, suffix)
        else:
            self._perturbing(path, attack)

    def _suffix(self, path: str, attack: Attack, suffix: str) -> None:
        """An attack with trainable embeddings or real tokens behind the prompt."""
        here = (f"{path}.{suffix}", "the suffix is here")
        if attack.soft_suffix is not None and attack.token_suffix is not None:
            message = "an attack uses one kind of suffix"
            self._add("REC411", message, f"{path}.token_suffix", related=here)
        if attack.perturb or attack.stages:
            also = "perturb" if attack.perturb else "stage"
            self._add(
                "REC411",
                "an attack either perturbs or uses a suffix",
                f"{path}.{suffix}",
                related=(f"{path}.{also}", "it perturbs here"),
            )
            return
        useless = {
            "preserve": attack.preserve is not None,
            "find": attack.find is not None,
            "limit": attack.limit is not None,
            "budget": attack.budget is not None
            and attack.budget in self.spec.budgets
            and self.spec.budgets[attack.budget].limit is not None,
            "with": suffix == "token_suffix" and f"{path}.with" in self.spec.spans,
        }
        for key, given in useless.items():
            if given:
                self._add(
                    "REC406",
                    f"`{key}` has no meaning with `{suffix}`",
                    f"{path}.{key}",
                    help=f"remove `{key}` or `{suffix}`",
                    related=here,
                )

    def _perturbing(self, path: str, attack: Attack) -> None:
        """An attack that adds δ to the residual stream."""
        if attack.keep is not None:
            self._add(
                "REC415",
                "`keep` is for suffixes",
                f"{path}.keep",
                help="write `preserve = …`, which holds the features where they are",
            )
        if attack.stages:
            for key, given, says in (
                ("perturb", attack.perturb, "where it perturbs"),
                ("limit", attack.limit, "what it may spend"),
                ("steps", attack.steps, "how many steps it takes"),
                ("forward_passes", attack.forward_passes, "how many steps it takes"),
                ("budget", attack.budget, "what it may spend"),
            ):
                if given:
                    self._add(
                        "REC411",
                        f"an attack with stages says in each {says}",
                        f"{path}.{key}",
                        help=f"remove this `{key}`, or the stages",
                    )
        elif not attack.perturb:
            self._add(
                "REC409",
                "this attack perturbs nothing",
                path,
                help="add `perturb = … at last_token`",
            )
        self._places(path, attack.perturb)
        for where, stage in self._stages(path, attack):
            self._places(where, stage.perturb)
            if len(stage.limit.norms) > 1:
                self._add(
                    "REC416",
                    "a stage has one limit",
                    f"{where}.limit",
                    help=f"such as `limit = norm <= {max(stage.limit.norms):g}`",
                )
        unread = attack.budget is not None and attack.budget not in self.spec.budgets
        if not limits_of(self.spec, attack) and not unread:
            self._add("REC401", "this attack has no limit", path, help="add `limit = norm <= 20`")

    def _stages(self, path: str, attack: Attack) -> Iterator[tuple[str, schema.Stage]]:
        """The stages, each with its path, which ends with its name or its number."""
        before = f"{path}.stage."
        written = [p for p in self.spec.spans if p.startswith(before)] if attack.stages else []
        names = list(dict.fromkeys(p.removeprefix(before).partition(".")[0] for p in written))
        for i, stage in enumerate(attack.stages):
            yield before + (names[i] if i < len(names) else str(i)), stage

    def _places(self, path: str, perturb: tuple[schema.Perturbation, ...]) -> None:
        for one in perturb:
            self.positions(f"{path}.perturb", one.positions, _NOT_PERTURBED, "δ is not added at")

    def _all_read(self, kind: str, found: Sized) -> bool:
        """Whether every block of a kind could be read, so that none is missing unseen."""
        written = {p for p in self.spec.spans if p.startswith(f"{kind}.") and p.count(".") == 1}
        return len(written) == len(found)

    def control(self, path: str, control: schema.Control) -> None:
        for key in ("draws", "seed") if not control.method else ():
            if f"{path}.{key}" in self.spec.spans:
                self._add(
                    "REC411",
                    f"`{key}` is for random directions, and nothing is drawn here",
                    f"{path}.{key}",
                    help=f"remove `{key}`, or add `with = random_direction`",
                )
        if control.method:
            for key, given, other in (
                ("target", control.target is not None, "another target"),
                ("on", control.on == "undefended", "the undefended model"),
            ):
                if given:
                    self._add(
                        "REC411",
                        f"a control has either another direction or {other}",
                        f"{path}.{key}",
                        related=(f"{path}.with", "the direction is here"),
                    )
        attack = self.spec.attacks.get(control.of)
        if control.target and attack and not isinstance(attack.maximize, schema.LogProb):
            self._add(
                "REC418",
                f"`{control.of}` does not maximize an answer that another could replace",
                f"{path}.target",
                help="give the attack `maximize = logprob(base_answer)`",
                related=(f"attack.{control.of}.maximize", "it maximizes this"),
            )
        self.has_delta(f"{path}.of", control.of, "controlled")
        if not control.method and not control.target:
            if control.on == "undefended":
                self._add(
                    "REC412",
                    "without the clamp the behavior is there already, in every valid flip",
                    f"{path}.on",
                    help="add `target = base_answer of another_example`",
                )
            else:
                self._add(
                    "REC412",
                    "this control repeats the attack",
                    path,
                    help="add `with = random_direction` or `target = base_answer of another_example`",
                )

    def has_delta(self, path: str, name: str, doing: str) -> None:
        """Controls and attributions are of attacks that add a δ."""
        attack = self.spec.attacks.get(name)
        if attack and (suffix := suffix_of(attack)):
            self._add(
                "REC417",
                f"`{name}` uses a suffix and adds no δ that could be {doing}",
                path,
                related=(f"attack.{name}.{suffix}", "the suffix is here"),
            )

    def metric(self, path: str, name: str) -> None:
        """Some figures are of generated text only."""
        generates = any(b.generate for b in self.spec.behaviors.values())
        if (
            METRICS[name].generated
            and not generates
            and self._all_read("behavior", self.spec.behaviors)
        ):
            self._add(
                "REC408",
                f"`{name}` is of generated text, and no behavior generates one",
                path,
                help=f"{_GENERATE} to a behavior",
            )

    def expectation(self, path: str, expectation: schema.Expectation) -> None:
        self.metric(path, expectation.metric)
        control = self.spec.controls.get(expectation.subject)
        attack = self.spec.attacks.get(control.of if control else expectation.subject)
        if attack is None:
            return
        norms = limits_of(self.spec, attack)
        unlimited = not norms and not suffix_of(attack)
        if expectation.norm is not None and expectation.norm not in norms and not unlimited:
            known = ", ".join(f"{norm:g}" for norm in norms)
            self._add(
                "REC405",
                f"`{expectation.subject}` has no budget of norm {expectation.norm:g}",
                path,
                help=f"its budgets: {known}" if known else "a suffix has no norm: leave it out",
            )
        if expectation.metric == "budget_ratio" and not (control and control.target):
            self._add(
                "REC405",
                f"`{expectation.subject}` is no control with another target",
                path,
                why="the ratio compares what another target costs with what recovery costs",
                help="name a control with `target = base_answer of another_example`",
            )
            return
        if expectation.metric == "budget_ratio" and expectation.operator in ("<", "<="):
            self._add(
                "REC405",
                "the ratio is at least what is found, so it cannot be shown to be small",
                path,
                why="a target that no norm reached counts with the largest that was tried",
                help="write `>` or `>=`",
            )
        searched = expectation.metric in ("smallest_norm", "budget_ratio")
        if searched and control and control.target and control.on == "undefended":
            self._add(
                "REC405",
                f"no smallest norm is searched for `{expectation.subject}`, which runs without the clamp",
                path,
                help="name a control under the clamp",
            )
            return
        if searched and expectation.norm is not None:
            self._add(
                "REC405",
                f"`{expectation.metric}` is searched over all norms and has no `norm`",
                path,
                help=f"write `{expectation.metric}({expectation.subject})`",
            )
        if expectation.metric == "smallest_norm" and control and not control.target:
            self._add(
                "REC405",
                f"`{expectation.subject}` does not search for the smallest norm",
                path,
                help="name the attack, or a control with a `target`",
            )
            return
        if expectation.metric in ("smallest_norm", "budget_ratio") and attack.find is None:
            searching = control.of if control else expectation.subject
            self._add(
                "REC405",
                f"`{searching}` does not search for the smallest norm",
                path,
                help="add `find = smallest_norm()` to the attack",
            )


def _reads(predicate: schema.Predicate) -> Iterator[str]:
    """What a condition reads: `score`, `judge`, or the names of detectors."""
    match predicate:
        case schema.Comparison(name) | schema.Detector(name):
            yield name
        case schema.Not(inner):
            yield from _reads(inner)
        case schema.And(parts) | schema.Or(parts):
            for part in parts:
                yield from _reads(part)
