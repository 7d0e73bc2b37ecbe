"""Small models with clamps at three boundaries, and the same run by plain hooks.

`Plain` is the second, independent computation that tests compare the engine with: the Hugging Face
model as it is, one text at a time, without padding and without a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from attrs import field, frozen
from torch import Tensor

from recoverdsl.compiler.steps import Behavior, Defense, Place, ReachAnswer, Recover, Stage
from recoverdsl.engine.attack.geometry import normalized
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.behavior.generation import Answers, generate
from recoverdsl.engine.defense.autoencoders import Autoencoder
from recoverdsl.engine.defense.clamp import Clamp, SetEach
from recoverdsl.engine.defense.intervention import Delta, Intervention
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.model.families import adapt
from recoverdsl.engine.model.judge import Judges
from recoverdsl.engine.model.loaded_model import LoadedModel
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.evaluation import FlipBatch
from recoverdsl.language.schema import (  # fmt: skip
    Adam,
    Comparison,
    Detector,
    Positions,
    ScaleBy,
    Score,
    SetTo,
    Term,
)
from recoverdsl.measure.phrases import Cue, Phrases
from recoverdsl.sources.data import Example
from recoverdsl.sources.fetcher import Fetcher
from tests.models import FAMILIES, jumprelu, tokenizer

WIDTH, VOCABULARY = 24, 61
WORDS = [f" w{index}" for index in range(1, VOCABULARY)]
PROMPTS = [[5, 9, 33, 2, 17], [41], [12, 60, 7], [3, 3, 28, 19, 50, 44, 8, 21], [22, 35, 1, 14]]
CLAMPED = {1: [1, 5, 9, 23], 2: [0, 2, 40], 3: [4, 11, 30, 63, 7]}
"""Features by boundary."""
ANSWERED = Positions(("every_token", "generated"), ("first",))
LAST = Positions(("last_token",))
TARGET = Positions(("target_tokens",))
ENDING = Positions(("last_token", "target_tokens"))
RAISED = SetTo(1.5)
PHRASES = Phrases({name: Cue(("w1",), (), 1) for name in ("refuses", "opens_with_safety_cue")})

each_family = pytest.mark.parametrize("kind", FAMILIES)
two_families = pytest.mark.parametrize("kind", ["llama", "gpt2"])


def autoencoders(seed: int = 0) -> dict[int, Any]:
    """Return SAEs of sae_lens by boundary."""
    return {site: jumprelu(seed=seed + site) for site in CLAMPED}


@frozen(eq=False)
class Edit:
    """A clamp of the features of one boundary."""

    ids: Sequence[int]
    target: Callable[[Tensor], Tensor]
    """Activations (T, S) to their new values."""
    only_active: bool = False


@frozen(eq=False)
class Plain:
    """A Hugging Face model under hooks of its own."""

    model: Any
    saes: Mapping[int, Any]
    edits: Mapping[int, Edit] = field(factory=dict)
    spared: int = 1
    """How many of the first positions no clamp touches."""
    until: int | None = None
    """The position from which on no clamp acts."""

    @property
    def layers(self) -> Any:
        return self.model.model.layers if hasattr(self.model, "model") else self.model.transformer.h

    def clamped(self, site: int, h_TD: Tensor) -> Tensor:
        """Return D(clamp(z)) + (h − D(z)), feature by feature, with all of the SAE."""
        if site not in self.edits:
            return h_TD
        sae, edit = self.saes[site], self.edits[site]
        z_TF = sae.encode(h_TD)
        new_TF = z_TF.clone()
        z_TS = z_TF[:, list(edit.ids)]
        acts_TS = (z_TS > 0) if edit.only_active else torch.ones_like(z_TS, dtype=torch.bool)
        position_T1 = torch.arange(len(h_TD))[:, None]
        acts_TS = acts_TS & (position_T1 >= self.spared)
        if self.until is not None:
            acts_TS = acts_TS & (position_T1 < self.until)
        new_TF[:, list(edit.ids)] = torch.where(acts_TS, edit.target(z_TS), z_TS)
        defended_TD: Tensor = h_TD - sae.decode(z_TF) + sae.decode(new_TF)
        return defended_TD

    @contextmanager
    def hooked(
        self,
        delta: Mapping[int, Tensor],
        seen: dict[int, Tensor],
        before: dict[int, Tensor],
        unclamped: dict[int, Tensor],
    ) -> Iterator[None]:
        """Run with δ (T, D) by boundary, and fill `seen` with the states there after δ, `before` with
        those after the clamp and before δ, and `unclamped` with those before the clamp."""

        def edited(site: int, h_1TD: Tensor) -> Tensor:
            unclamped[site] = h_1TD[0].float()
            h_TD = self.clamped(site, h_1TD[0].float())
            before[site] = h_TD
            if site in delta:
                h_TD = h_TD + delta[site]
            seen[site] = h_TD
            return h_TD[None].to(h_1TD.dtype)

        def output(site: int) -> Callable[..., Any]:
            def hook(_: Any, __: Any, made: Any) -> Any:
                if isinstance(made, tuple):
                    return (edited(site, made[0]), *made[1:])
                return edited(site, made)

            return hook

        handles = [
            layer.register_forward_hook(output(at + 1)) for at, layer in enumerate(self.layers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def logits(
        self,
        ids: Sequence[int],
        delta: Mapping[int, Tensor] | None = None,
        seen: dict[int, Tensor] | None = None,
        before: dict[int, Tensor] | None = None,
        unclamped: dict[int, Tensor] | None = None,
    ) -> Tensor:
        """Return the logits (T, V) of one text; δ (P, D) of each boundary from position 0 on, as
        far as it goes."""
        fitted = {
            site: torch.nn.functional.pad(rows[: len(ids)], (0, 0, 0, max(0, len(ids) - len(rows))))
            for site, rows in (delta or {}).items()
        }
        seen = {} if seen is None else seen
        before = {} if before is None else before
        unclamped = {} if unclamped is None else unclamped
        with self.hooked(fitted, seen, before, unclamped):
            logits_TV: Tensor = self.model(torch.tensor([ids]), use_cache=False).logits[0]
        return logits_TV

    @torch.no_grad()
    def write(
        self, prompt: Sequence[int], tokens: int, delta: Mapping[int, Tensor], ends: frozenset[int]
    ) -> tuple[list[int], Tensor, bool]:
        """Return greedy tokens, each from a pass over the whole text so far; logits (N, V); whether
        it ended."""
        ids, rows = list(prompt), []
        for _ in range(tokens):
            rows.append(self.logits(ids, delta)[-1])
            token = int(rows[-1].argmax())
            if token in ends:
                return ids[len(prompt) :], torch.stack(rows), True
            ids.append(token)
        return ids[len(prompt) :], torch.stack(rows), False


@frozen(eq=False)
class Rig:
    """A model, its clamps in the engine's form and in that of `Plain`, and the resources of steps."""

    resources: Resources
    protected: Protected
    intervention: Intervention
    plain: Plain
    undefended: Plain
    behavior: Behavior
    defense: Defense

    @property
    def saes(self) -> list[Autoencoder]:
        return list(self.resources.autoencoders.values())

    @property
    def prompts(self) -> list[list[int]]:
        return self.resources.prompts

    def problems(self) -> ProblemFactory:
        return ProblemFactory(self.resources)

    def recover(self, *stages: Stage, target_tokens: int | None = None, **changes: Any) -> Recover:
        return Recover(
            **{
                "defense": self.defense, "behavior": self.behavior, "stages": stages or (stage(),),
                "goal": ReachAnswer(tokens=target_tokens), **changes,
            }
        )  # fmt: skip

    def answers(self, indices: list[int] | None = None, defended: bool = False) -> Answers:
        """Return the texts that the model writes, without a clamp unless one is given."""
        indices = list(range(len(self.prompts))) if indices is None else indices
        assert self.behavior.generate is not None
        return generate(
            self.resources.model.family, self.resources.tokens(indices),
            self.intervention if defended else Intervention(),
            tokens=self.behavior.generate, end_ids=self.resources.model.end_ids,
        )  # fmt: skip

    def problem(self, step: Recover, indices: list[int] | None = None) -> AttackProblem:
        """Return the first stage's problem, with the undefended answers as targets."""
        indices = list(range(len(self.prompts))) if indices is None else indices
        targets = None
        if isinstance(step.goal, ReachAnswer):
            targets = self.answers(indices).first(step.goal.tokens)
        return self.problems().problem(step, self.protected, indices, targets)

    def batch(self, indices: list[int] | None = None) -> FlipBatch:
        indices = list(range(len(self.prompts))) if indices is None else indices
        others = [(index + 1) % len(self.prompts) for index in indices]
        return FlipBatch(indices, self.answers(indices), self.answers(others))


def stage(
    *places: tuple[int, Positions], limit: float = 4.0, steps: int = 6, lr: float = 0.1
) -> Stage:
    """Return a stage with δ at boundaries; at the clamps' second one, on all of the answer, if none
    is named."""
    return Stage(
        tuple(Place(site - 1, "output", positions) for site, positions in places or [(2, ENDING)]),
        Adam(lr), steps, limit,
    )  # fmt: skip


def rig(
    kind: str = "llama",
    *,
    seed: int = 0,
    prompts: Sequence[list[int]] = PROMPTS,
    saes: Mapping[int, Any] | None = None,
    chosen: Mapping[int, list[int]] = CLAMPED,
    to: SetTo | ScaleBy = RAISED,
    tokens: int = 5,
    end_ids: Sequence[int] = (),
    double: bool = False,
) -> Rig:
    """Return a rig with every boundary of `chosen` clamped in the same way, and prompts of
    different lengths.

    Behaviors are judged by a text that `refuses` if it begins with the first word.
    """
    model = FAMILIES[kind](seed)
    model.generation_config.eos_token_id = list(end_ids) or None
    if double:
        model = model.double()
    loaded = {site: (saes or autoencoders())[site] for site in chosen}
    resources = Resources(None, Fetcher(Path()), torch.device("cpu"), busy=lambda _: nullcontext())  # type: ignore[arg-type]
    resources.model = LoadedModel(adapt(model), tokenizer(WORDS))
    resources.examples = [
        Example(f"e{at}", resources.model.decode(ids), {"right": WORDS[at], "wrong": WORDS[at + 9]})
        for at, ids in enumerate(prompts)
    ]
    resources.prompts = [list(ids) for ids in prompts]
    resources.autoencoders = {str(site): Autoencoder(sae, site) for site, sae in loaded.items()}
    resources.judges = Judges(PHRASES)
    resources.opened_thinking = ""
    protected = Protected(
        {
            site: resources.features(str(site), chosen[site]) for site in loaded
        }
    )  # fmt: skip
    defense = Defense(to, "always", ANSWERED)

    def target(z_TS: Tensor) -> Tensor:
        return torch.full_like(z_TS, to.value) if isinstance(to, SetTo) else to.factor * z_TS

    return Rig(
        resources, protected, protected.intervention(defense),
        Plain(model, loaded, {site: Edit(ids, target) for site, ids in chosen.items()}),
        Plain(model, loaded), Behavior(Detector("refuses"), generate=tokens), defense,
    )  # fmt: skip


def mixed(rig: Rig) -> tuple[Intervention, Plain]:
    """Return three kinds of clamps on the boundaries of `CLAMPED`: set where active, scale, set to
    means."""
    values = {site: torch.linspace(0.5, 2.0, len(ids)) for site, ids in CLAMPED.items()}
    features = rig.protected.features
    clamps = {
        1: Clamp(features[1], SetTo(-2.0), only_active=True),
        2: Clamp(features[2], ScaleBy(3.0), only_active=False),
        3: Clamp(features[3], SetEach(values[3]), only_active=False),
    }
    edits = {
        1: Edit(CLAMPED[1], lambda z: torch.full_like(z, -2.0), only_active=True),
        2: Edit(CLAMPED[2], lambda z: 3.0 * z),
        3: Edit(CLAMPED[3], lambda z: values[3].expand_as(z)),
    }
    return Intervention(clamps, ANSWERED), Plain(rig.plain.model, rig.plain.saes, edits)


def own_rows(delta: Delta, at: int, length: int) -> dict[int, Tensor]:
    """Return the δ (P, D) of one example by boundary, from position 0 of its own text on.

    Args:
        length: how many tokens its prompt has.
    """
    rows = {}
    for number, site in enumerate(delta.sites):
        columns_PD = delta.delta_BLPD[at, number]
        missing = length - delta.before
        if missing >= 0:
            rows[site] = torch.nn.functional.pad(columns_PD, (0, 0, missing, 0))
        else:
            rows[site] = columns_PD[-missing:]
    return rows


def of_problem(problem: AttackProblem, delta_BLQD: Tensor) -> Delta:
    """Return a problem's δ with its columns counted from the prompt's end."""
    return Delta(problem.sites, delta_BLQD, problem.tokens.prompt - problem.first)


def onto(problem: AttackProblem, delta: Delta) -> Tensor:
    """Return a δ on the columns of a problem."""
    parts = [delta.at(site, problem.tokens, problem.first) for site in problem.sites]
    return torch.stack([problem.zero_BLQD[:, 0] if p is None else p for p in parts], dim=1)


def some(problem: AttackProblem, size: float = 1.0, seed: int = 1) -> Tensor:
    """Return a random δ of one norm for each example, where it may act."""
    drawn = torch.randn(problem.zero_BLQD.shape, generator=torch.Generator().manual_seed(seed))
    placed = problem.place(drawn)
    return size * normalized(placed)


def values_of(row: Any) -> dict[str, Any]:
    """Return every value of a row by the name of its field, those of records within it included."""
    values: dict[str, Any] = {}
    for name in attrs.fields_dict(type(row)):
        value = getattr(row, name)
        inner = values_of(value) if attrs.has(type(value)) else {name: value}
        assert not values.keys() & inner.keys()
        values |= inner
    return values


SCORE = Score((Term(1.0, "logit", "{right}"), Term(-1.0, "logit", "{wrong}")), LAST)
SCORED = Behavior(Comparison("score", ">", 0.0), score=SCORE)
