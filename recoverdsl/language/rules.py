"""What must hold between the values of a spec, beyond the type of each."""

from __future__ import annotations

import re

from recoverdsl.language import schema
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.nodes import Span
from recoverdsl.language.schema import Attack, Spec

_START = Span(0, 0, 1, 1, 1, 1)


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
    for name, attack in spec.attacks.items():
        rules.attack(f"attack.{name}", attack)
    for name, control in spec.controls.items():
        rules.control(f"control.{name}", control)
    for i, expectation in enumerate(spec.expects):
        rules.expectation(f"expect.{i}", expectation)


def limits_of(spec: Spec, attack: Attack) -> tuple[float, ...]:
    """The budgets that an attack runs with: its own, those of its budget block, or its stages'."""
    if attack.limit:
        return attack.limit.norms
    budget = spec.budgets.get(attack.budget) if attack.budget else None
    if budget and budget.limit:
        return budget.limit.norms
    return tuple(sorted({norm for stage in attack.stages for norm in stage.limit.norms}))


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

    def source(self, path: str, source: object, sha256: str | None) -> None:
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
                f"{path}.from",
                help='add `revision = "…"` with the 40 digits of a commit',
            )

    def behavior(self, path: str, behavior: schema.Behavior) -> None:
        detectors, scores = _reads(behavior.holds)
        if scores and behavior.score is None:
            self._add(
                "REC407",
                "`holds` compares a score that this behavior does not have",
                f"{path}.holds",
                help="add `score = …`",
            )
        if detectors and behavior.generate is None:
            self._add(
                "REC408",
                "`holds` judges a text that this behavior does not generate",
                f"{path}.holds",
                help="add `generate = greedy(tokens = 48)`",
            )

    def protect(self, path: str, protect: schema.Protect) -> None:
        by = protect.select.by if isinstance(protect.select, schema.Top) else None
        if isinstance(protect.select, schema.Top) and by is None:
            self._add(
                "REC305",
                "`top` needs `by` here: what ranks the features",
                f"{path}.select",
                help="add `by = attribution(…)` or `by = contrast(…)`",
            )
        if isinstance(by, schema.Attribution):
            self._scored(by.behavior, f"{path}.select", "attributed")

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
                help="add `generate = greedy(tokens = 48)` to a behavior",
            )
        if attack.soft_suffix is not None:
            for key, given in (("preserve", attack.preserve), ("find", attack.find)):
                if given is not None:
                    self._add(
                        "REC406",
                        f"`{key}` has no meaning with `soft_suffix`",
                        f"{path}.{key}",
                        help=f"remove `{key}` or `soft_suffix`",
                        related=(f"{path}.soft_suffix", "the suffix is here"),
                    )
            if attack.perturb or attack.stages:
                self._add(
                    "REC411",
                    "an attack either perturbs or uses a soft suffix",
                    f"{path}.soft_suffix",
                )
            return
        if attack.stages and attack.perturb:
            self._add(
                "REC411",
                "an attack with stages says in each where it perturbs",
                f"{path}.perturb",
                help="remove this `perturb`, or the stages",
            )
        if not attack.stages and not attack.perturb:
            self._add(
                "REC409",
                "this attack perturbs nothing",
                path,
                help="add `perturb = … at last_token`",
            )
        unread = attack.budget is not None and attack.budget not in spec.budgets
        if not limits_of(spec, attack) and not unread:
            self._add("REC401", "this attack has no limit", path, help="add `limit = norm <= 20`")

    def _all_read(self, kind: str, found: object) -> bool:
        """Whether every block of a kind could be read, so that none is missing unseen."""
        written = {p for p in self.spec.spans if p.startswith(f"{kind}.") and p.count(".") == 1}
        return len(written) == len(found)  # type: ignore[arg-type]

    def control(self, path: str, control: schema.Control) -> None:
        if control.method and control.target:
            self._add(
                "REC411",
                "a control has either another direction or another target",
                f"{path}.target",
                related=(f"{path}.with", "the direction is here"),
            )
        if not control.method and not control.target and control.on == "defended":
            self._add(
                "REC412",
                "this control repeats the attack",
                path,
                help="add `with = random_direction`, a `target`, or `on = undefended`",
            )

    def expectation(self, path: str, expectation: schema.Expectation) -> None:
        control = self.spec.controls.get(expectation.subject)
        attack = self.spec.attacks.get(control.of if control else expectation.subject)
        if attack is None:
            return
        norms = limits_of(self.spec, attack)
        if expectation.norm is not None and norms and expectation.norm not in norms:
            known = ", ".join(f"{norm:g}" for norm in norms)
            self._add(
                "REC405",
                f"`{expectation.subject}` has no budget of norm {expectation.norm:g}",
                path,
                help=f"its budgets: {known}",
            )
        if expectation.metric == "smallest_norm" and attack.find is None:
            self._add(
                "REC405",
                f"`{expectation.subject}` does not search for the smallest norm",
                path,
                help="add `find = smallest_norm()` to the attack",
            )


def _reads(predicate: schema.Predicate) -> tuple[bool, bool]:
    """Whether a condition reads a detector, and whether it reads the score."""
    match predicate:
        case schema.Comparison(left):
            return left != "score", left == "score"
        case schema.Detector():
            return True, False
        case schema.Not(inner):
            return _reads(inner)
        case schema.And(parts) | schema.Or(parts):
            read = [_reads(part) for part in parts]
            return any(d for d, _ in read), any(s for _, s in read)
