"""Suffix attacks against a plain model under hooks, brute force, and planted answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers
from attrs import evolve, field, frozen
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from torch import Tensor

from recoverdsl.compiler.steps import Suffix
from recoverdsl.engine.attack.gcg import Gcg, TypableTokens
from recoverdsl.engine.attack.optimizers import Adam as AdamOptimizer
from recoverdsl.engine.attack.suffix_problem import SuffixObjective, SuffixProblem, suffix_problem
from recoverdsl.engine.attack.suffix_search import SoftSuffix, search, soft_start
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.model.families import adapt
from recoverdsl.engine.model.loaded_model import LoadedModel, PromptParts
from recoverdsl.engine.steps.evaluation import FlipBatch
from recoverdsl.engine.steps.suffix import Suffixes, attack
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Adam, Gradient
from recoverdsl.measure.features import Monitored, feature_figures
from recoverdsl.sources.data import Example
from recoverdsl.store.records import pack
from tests.bounds import GRADIENT, PASS, assert_near, near
from tests.engine.rigs import (
    CLAMPED,
    PROMPTS,
    VOCABULARY,
    WIDTH,
    WORDS,
    Rig,
    each_family,
    rig,
    values_of,
)
from tests.models import llama, tokenizer

AFTER = [2, 0, 1, 3, 1]
"""How many tokens of each prompt come after its suffix."""
SEEDS = [11, 12, 13, 14, 15]
ALL = list(range(len(PROMPTS)))
TOKENS = 4


def suffixed(kind: str = "llama", **changes: Any) -> Rig:
    """Return a rig whose tokenizer reads what it has written."""
    made = rig(kind, **changes)
    made.resources.model.tokenizer.backend_tokenizer.decoder = decoders.Fuse()
    made.resources.prompt_parts = [
        PromptParts(text(ids[: len(ids) - n]), text(ids[len(ids) - n :]), ids[: len(ids) - n], ids[len(ids) - n :], False)
        for ids, n in zip(PROMPTS, AFTER, strict=True)
    ]  # fmt: skip
    return made


def text(ids: Sequence[int]) -> str:
    return "".join(WORDS[id - 1] for id in ids)


def soft(made: Rig, **changes: Any) -> Suffix:
    return Suffix(
        **{
            "defense": made.defense, "behavior": made.behavior, "tokens": TOKENS, "steps": 30,
            "optimizer": Adam(0.3), "target_tokens": 2, **changes,
        }
    )  # fmt: skip


def hard(made: Rig, **changes: Any) -> Suffix:
    return soft(made, **{"optimizer": None, "candidates": 16, "top": 20, "steps": 8, **changes})


def problem(made: Rig, step: Suffix, rows: list[int] = ALL) -> SuffixProblem:
    return suffix_problem(
        made.resources, step, made.protected, rows, made.answers(rows), [7] * len(rows)
    )


def attacked(
    made: Rig, step: Suffix, rows: list[int] = ALL, answers: Answers | None = None
) -> Suffixes:
    batch = FlipBatch(rows, answers or made.answers(rows))
    return attack(made.resources, step, made.protected, batch, [SEEDS[row] for row in rows])


def ids_of(found: Suffixes) -> Tensor:
    """Return suffixes (B, N) of real tokens."""
    assert found.suffix_BND is None and found.suffix_ids_BN is not None
    return found.suffix_ids_BN


def states_of(found: Suffixes) -> Tensor:
    """Return suffixes (B, N, D) of trained embeddings."""
    assert found.suffix_ids_BN is None and found.suffix_BND is not None
    return found.suffix_BND


def drawn(count: int = len(PROMPTS), seed: int = 0) -> Tensor:
    """Return random suffixes of real tokens."""
    return torch.randint(
        1, VOCABULARY, (count, TOKENS), generator=torch.Generator().manual_seed(seed)
    )


def read(at: int, suffix: Sequence[int]) -> list[int]:
    """Return the prompt of an example with a suffix in it."""
    ids = PROMPTS[at]
    return [*ids[: len(ids) - AFTER[at]], *suffix, *ids[len(ids) - AFTER[at] :]]


@contextmanager
def embedded(made: Rig, at: int, states_ND: Tensor) -> Iterator[None]:
    """Return the plain model with given states where an example's suffix is."""
    start = len(PROMPTS[at]) - AFTER[at]

    def hook(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h_1TD = args[0].clone()
        h_1TD[0, start : start + len(states_ND)] = states_ND
        return (h_1TD, *args[1:])

    handle = made.plain.layers[0].register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def features(made: Rig, seen: dict[int, Tensor], start: int, count: int) -> dict[int, Tensor]:
    """Return protected features (1, A, S) of some positions of one text, by the whole SAEs."""
    return {
        site: made.plain.saes[site].encode(seen[site])[None, start : start + count, ids]
        for site, ids in CLAMPED.items()
    }


def squared_drift(z_def: dict[int, Tensor], z: dict[int, Tensor]) -> float:
    moved = sum(float((z[site] - z_def[site]).square().sum()) for site in z)
    return moved / sum(float(z.square().sum()) for z in z_def.values())


# --- The objective ---


@each_family
@pytest.mark.parametrize("real", [True, False], ids=["real tokens", "embeddings"])
def test_the_objective_over_a_prefix_is_that_of_the_plain_model_read_from_the_start(
    kind: str, real: bool
) -> None:
    made = suffixed(kind)
    step = soft(made, keep=3.0, target_tokens=3)
    posed = problem(made, step)
    ids_BN = drawn()
    states_BND = posed.states_of(ids_BN)
    if not real:
        generator = torch.Generator().manual_seed(1)
        states_BND = states_BND + torch.randn(states_BND.shape, generator=generator)
    found = posed.objective(states_BND)
    targets = made.answers().first(3).lists()
    for at, target in enumerate(targets):
        whole = [*read(at, ids_BN[at].tolist()), *target]
        seen: dict[int, Tensor] = {}
        if real:
            logits_TV = made.plain.logits(whole[:-1], seen=seen)
        else:
            with embedded(made, at, states_BND[at]):
                logits_TV = made.plain.logits(whole[:-1], seen=seen)
        last = len(PROMPTS[at]) + TOKENS - 1
        logprob_AV = logits_TV[last:].log_softmax(1)
        score = logprob_AV[torch.arange(3), torch.tensor(target)].sum()
        assert_near(found.score_B[at], score, PASS, float(found.score_B.abs().max()))
        assert bool(found.reached_B[at]) == (logprob_AV.argmax(1).tolist() == target)

        before: dict[int, Tensor] = {}
        made.plain.logits([*PROMPTS[at], *target[:-1]], seen=before)
        drift = squared_drift(
            features(made, before, len(PROMPTS[at]) - 1, 3), features(made, seen, last, 3)
        )
        assert float(found.total_B[at]) == near(
            float(score) - 3 * drift, PASS, float(found.total_B.abs().max())
        )


def test_the_target_may_end_before_that_of_others() -> None:
    made = suffixed()
    written = made.answers()
    cut = Answers(
        written.ids_BN, torch.tensor([2, 5, 1, 3, 4]), torch.zeros(5).bool(), torch.zeros(5).bool()
    )
    posed = suffix_problem(made.resources, soft(made, target_tokens=None, keep=1.0), made.protected, ALL, cut, [7] * 5)  # fmt: skip
    ids_BN = drawn()
    together = posed.objective(posed.states_of(ids_BN))
    for at in ALL:
        one = torch.tensor([at])
        alone = suffix_problem(made.resources, soft(made, target_tokens=None, keep=1.0), made.protected, [at], cut.take(one), [7])  # fmt: skip
        own = alone.objective(alone.states_of(ids_BN[one]))
        assert float(own.total_B) == pytest.approx(float(together.total_B[at]), abs=1e-4)


def test_features_that_were_zero_count_by_how_far_they_moved() -> None:
    made = suffixed()
    posed = problem(made, soft(made, keep=2.0))
    still = evolve(posed, z_def={site: torch.zeros_like(z) for site, z in posed.z_def.items()})
    states = posed.states_of(drawn())
    found, z = still.objective(states), still.features_with(states)
    moved = sum(at.square().sum((1, 2)) for at in z.values())
    assert_near(found.total_B, found.score_B - 2 * moved, PASS)


# --- The search ---


@each_family
@pytest.mark.parametrize("optimizer", [Adam(0.3), Gradient(2.0)], ids=["adam", "gradient"])
def test_a_soft_suffix_elicits_one_token_and_the_model_then_writes_it(
    kind: str, optimizer: Adam | Gradient
) -> None:
    made = suffixed(kind)
    found = attacked(made, soft(made, target_tokens=1, steps=80, optimizer=optimizer))
    assert all(row.reached for row in found.rows)
    assert torch.equal(found.answers.ids_BN[:, 0], made.answers().ids_BN[:, 0])
    assert any(row.steps > 0 for row in found.rows)


@each_family
def test_a_planted_token_is_found_by_trying_all(kind: str) -> None:
    """The answer is the text that the defended model writes after a secret suffix of one token."""
    made = suffixed(kind)
    step = hard(made, tokens=1, candidates=VOCABULARY, top=VOCABULARY, steps=1, target_tokens=1)
    posed = problem(made, step)
    secret_BN = drawn()[:, :1]
    planted = [
        made.plain.write(read(at, ids), 1, {}, frozenset())[0]
        for at, ids in enumerate(secret_BN.tolist())
    ]
    answers = Answers(
        torch.tensor(planted), torch.ones(5).long(), torch.zeros(5).bool(), torch.zeros(5).bool()
    )
    posed = suffix_problem(made.resources, step, made.protected, ALL, answers, [7] * 5)
    every = [posed.objective(posed.states_of(torch.full((5, 1), id))).score_B for id in range(1, VOCABULARY)]  # fmt: skip
    best_B = torch.stack(every).max(0).values
    found = attacked(made, evolve(step, stop="never"), answers=answers)
    secret_B = posed.objective(posed.states_of(secret_BN)).score_B
    for row, best, secret in zip(found.rows, best_B.tolist(), secret_B.tolist(), strict=True):
        assert row.score_recovered == pytest.approx(best, abs=1e-4)
        assert row.score_recovered >= secret - 1e-4
    assert sum(row.reached for row in found.rows) >= 4


@each_family
def test_a_reached_target_is_what_the_plain_model_writes(kind: str) -> None:
    made = suffixed(kind)
    targets = made.answers().first(2).lists()
    tokens, embeddings = attacked(made, hard(made)), attacked(made, soft(made))
    for at in ALL:
        ids, _, _ = made.plain.write(read(at, ids_of(tokens)[at].tolist()), 5, {}, frozenset())
        assert ids == tokens.answers.lists()[at]
        with embedded(made, at, states_of(embeddings)[at]):
            ids, _, _ = made.plain.write(read(at, [7] * TOKENS), 5, {}, frozenset())
        assert ids == embeddings.answers.lists()[at]
        for found in (tokens, embeddings):
            assert found.rows[at].reached == (found.answers.lists()[at][:2] == targets[at])
    assert any(row.reached for row in tokens.rows + embeddings.rows)


def test_a_token_suffix_never_gets_worse() -> None:
    made = suffixed()
    runs = [attacked(made, hard(made, steps=steps, stop="never")) for steps in range(7)]
    scores = torch.tensor([[row.score_recovered for row in found.rows] for found in runs])
    assert (scores.diff(dim=0) > -1e-5).all()
    assert (scores[-1] > scores[0] + 0.1).all()
    # One token at a time.
    ids = torch.stack([ids_of(found) for found in runs])
    assert ((ids.diff(dim=0) != 0).sum(2) <= 1).all()


@pytest.mark.parametrize("make", [soft, hard], ids=["soft", "token"])
def test_an_example_does_not_depend_on_its_batch(make: Any) -> None:
    made = suffixed()
    step = make(made, steps=6, keep=1.0)
    whole = attacked(made, step)
    for rows in ([2], [4, 0], [3, 1, 2]):
        part = attacked(made, step, rows)
        tensors, all_tensors = pack(part)[1], pack(whole)[1]
        assert tensors.keys() == all_tensors.keys()
        for name, values in tensors.items():
            expected = all_tensors[name][rows]
            assert_near(values, expected, 6 * GRADIENT)
        for at, row in enumerate(part.rows):
            values_there = values_of(whole.rows[rows[at]])
            assert values_of(row) == pytest.approx(values_there, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize("make", [soft, hard], ids=["soft", "token"])
def test_an_example_that_is_done_stops_and_its_passes_are_counted(make: Any) -> None:
    made = suffixed()
    step = make(made, target_tokens=1, steps=10)
    rows = attacked(made, step).rows
    assert len({row.steps for row in rows}) > 1
    for row in rows:
        assert row.effort is not None
        assert row.effort.gradient_steps == row.steps + 1
        tried = step.candidates * row.steps if step.optimizer is None else 0
        assert row.effort.forward_passes == row.steps + 1 + tried
        assert row.reached or row.steps == 10
    until_the_end = attacked(made, evolve(step, stop="never")).rows
    assert {row.steps for row in until_the_end} == {10}


@pytest.mark.parametrize("make", [soft, hard], ids=["soft", "token"])
def test_the_weight_on_features_lowers_their_drift_at_equal_steps(make: Any) -> None:
    made = suffixed()
    free, kept = (
        attacked(made, make(made, steps=12, stop="never", keep=keep)).rows for keep in (0.0, 100.0)
    )
    drifts = [(a.features.drift, b.features.drift) for a, b in zip(free, kept, strict=True)]
    assert all(b < a for a, b in drifts)
    assert sum(b for _, b in drifts) < 0.7 * sum(a for a, _ in drifts)


def test_an_example_whose_numbers_end_leaves_the_others_alone() -> None:
    made = suffixed()
    step = soft(made, steps=5, stop="never")
    posed = problem(made, step)
    start = soft_start(posed, SEEDS)

    @frozen(eq=False)
    class Breaks(SoftSuffix):
        def improve(self, problem: SuffixProblem, suffix: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:  # fmt: skip
            moved, passes = super().improve(problem, suffix, *rest)
            if len(moved) == len(PROMPTS):
                moved[2] = torch.inf
            return moved, passes

    broken = search(posed, Breaks(AdamOptimizer(0.3)), start, 5, stop_when_reached=False)
    sane = search(posed, SoftSuffix(AdamOptimizer(0.3)), start, 5, stop_when_reached=False)
    assert broken.failed_B.tolist() == [at == 2 for at in ALL]
    assert not sane.failed_B.any()
    assert torch.equal(broken.suffix[2], start[2])
    others = [0, 1, 3, 4]
    assert_near(broken.suffix[others], sane.suffix[others], 5 * GRADIENT)


# --- Figures ---


@each_family
def test_figures_compare_each_token_with_the_same_one_without_a_suffix(kind: str) -> None:
    made = suffixed(kind)
    found = attacked(made, hard(made, target_tokens=3))
    targets = made.answers().first(3).lists()
    for at, row in enumerate(found.rows):
        prompt = read(at, ids_of(found)[at].tolist())
        written = found.answers.ids_BN[at].tolist()
        assert int(found.answers.length_B[at]) == len(written) == 5
        values = values_of(row)
        woken = 0
        for answer, names in (
            (targets[at], {n: n for n in ("drift", "activation_drift", "decode_drift", "clamp_floor_violation", "reactivated_fraction")}),
            (written, {"drift": "generated_drift", "clamp_floor_violation": "generated_clamp_floor_violation"}),
        ):  # fmt: skip
            z = []
            for before in (PROMPTS[at], prompt):
                seen: dict[int, Tensor] = {}
                made.plain.logits([*before, *answer[:-1]], seen=seen)
                z.append(features(made, seen, len(before) - 1, len(answer)))
            (figures,) = feature_figures(
                [Monitored(z[0][site], z[1][site], made.plain.saes[site].W_dec[ids]) for site, ids in CLAMPED.items()],
                torch.ones(1, len(answer)).bool(),
            )  # fmt: skip
            woken += figures.reactivated_count
            for figure, name in names.items():
                assert values[name] == near(getattr(figures, figure), PASS, 20.0), name
        assert row.zero_reactivation == (woken == 0)
        assert row.delta is None


def test_a_prompt_that_is_too_long_with_its_suffix_is_refused() -> None:
    made = suffixed()
    with pytest.raises(UnavailableError, match="tokens, and the model reads 64"):
        attacked(made, soft(made, tokens=60))


# --- Swaps of real tokens ---


@frozen(eq=False)
class Linear(SuffixProblem):
    """An objective that is linear in the suffix's states."""

    slope_BND: Tensor = field(kw_only=True)

    def objective(self, states_BND: Tensor) -> SuffixObjective:
        total_B = (states_BND * self.slope_BND).sum((1, 2))
        return SuffixObjective(total_B, total_B, torch.zeros(len(total_B)).bool())

    def take(self, rows: Tensor) -> SuffixProblem:
        return evolve(super().take(rows), slope_BND=self.slope_BND[rows])


@each_family
def test_the_gradient_ranks_swaps_as_brute_force_does_where_the_objective_is_linear(
    kind: str,
) -> None:
    made = suffixed(kind)
    posed = problem(made, hard(made))
    slope_BND = torch.randn(5, TOKENS, WIDTH, generator=torch.Generator().manual_seed(2))
    kept = {a.name: getattr(posed, a.name) for a in SuffixProblem.__attrs_attrs__}  # type: ignore[attr-defined]
    linear = Linear(**kept, slope_BND=slope_BND)
    typable = TypableTokens.of(made.resources.model)
    ids_BN = drawn()
    exhaustive = Gcg(
        typable, made.resources.prompt_parts, [torch.Generator().manual_seed(s) for s in SEEDS],
        candidates=TOKENS * VOCABULARY, top=VOCABULARY,
    )  # fmt: skip
    totals = torch.full((5, TOKENS, VOCABULARY), -torch.inf)
    for place in range(TOKENS):
        for id in range(1, VOCABULARY):
            swapped = ids_BN.clone()
            swapped[:, place] = id
            totals[:, place, id] = linear.objective(linear.states_of(swapped)).total_B
    now_B = linear.objective(linear.states_of(ids_BN)).total_B

    for at in ALL:
        for place in range(TOKENS):
            totals[at, place, ids_BN[at, place]] = -torch.inf
    top_BNK = exhaustive.top_tokens(linear, ids_BN, slope_BND)
    ranked = totals.topk(VOCABULARY - 2).indices
    assert torch.equal(top_BNK[..., : VOCABULARY - 2], ranked)

    better_BN, tried_B = exhaustive.improve(linear, ids_BN, now_B, slope_BND)
    assert tried_B.tolist() == [TOKENS * (VOCABULARY - 2)] * 5
    found_B = linear.objective(linear.states_of(better_BN)).total_B
    torch.testing.assert_close(found_B, totals.flatten(1).max(1).values.maximum(now_B))


def letters() -> Any:
    """Return a tokenizer of letters that joins some pairs, with tokens that no suffix may have."""
    singles = "abcdefgh"
    pairs = [(a, b) for a in singles for b in singles[:5]]
    vocabulary = {"<unk>": 0, "<end>": 1, "é": 2, "\n": 3, " ": 4} | {
        piece: at + 5 for at, piece in enumerate([*singles, *(a + b for a, b in pairs)])
    }
    core = Tokenizer(BPE(vocabulary, pairs, unk_token="<unk>"))
    core.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", eos_token="<end>"
    )


def test_a_suffix_holds_plain_tokens_only() -> None:
    typable = TypableTokens.of(LoadedModel(adapt(llama()), letters()))
    assert typable.allowed == list(range(5, 53))
    assert sorted(typable.plain) == typable.allowed


def test_a_suffix_begins_with_exclamation_marks_where_there_are_any() -> None:
    model = LoadedModel(adapt(llama()), tokenizer([" a", " !", " b", "!"]))
    assert TypableTokens.of(model).plain == [2, 4, 1, 3]


def test_tokens_survive_if_their_text_is_read_as_themselves() -> None:
    model = LoadedModel(adapt(llama()), letters())
    typable = TypableTokens.of(model)
    parts = PromptParts("gg", "h", model.encode_text("gg"), model.encode_text("h"), False)
    pairs = [[a, b] for a in typable.allowed for b in typable.allowed]
    kept = typable.round_trips(parts, pairs)
    shown = [model.tokenizer.convert_ids_to_tokens(ids) for ids in pairs]
    expected = [
        model.encode_text("gg" + "".join(tokens) + "h") == [*parts.before_ids, *ids, *parts.after_ids]
        for ids, tokens in zip(pairs, shown, strict=True)
    ]  # fmt: skip
    assert kept == expected
    assert 0 < sum(kept) < len(kept)
    assert not kept[shown.index(["a", "b"])]
    assert kept[shown.index(["ab", "h"])]


def test_every_suffix_that_is_found_survives_and_none_is_tried_that_does_not() -> None:
    made = suffixed()
    model = evolve(made.resources.model, tokenizer=letters())
    made.resources.model = model
    made.resources.prompt_parts = [
        PromptParts(model.decode(model.encode_text(t)), "", model.encode_text(t), [], False)
        for t in ("gagg", "h", "hhg", "fgh", "gg")
    ]
    made.resources.prompts = [parts.before_ids for parts in made.resources.prompt_parts]
    found = attacked(made, hard(made, steps=5, stop="never"))
    typable = TypableTokens.of(model)
    changed = 0
    for at, ids in enumerate(ids_of(found).tolist()):
        assert typable.round_trips(made.resources.prompt_parts[at], [ids]) == [True]
        changed += ids != [typable.start_token(made.resources.prompt_parts[at], TOKENS)] * TOKENS
    assert changed >= 3


def test_a_tokenizer_that_does_not_read_what_it_writes_is_refused() -> None:
    made = suffixed()
    made.resources.model.tokenizer.backend_tokenizer.decoder = decoders.WordPiece()
    with pytest.raises(UnavailableError, match="written as text and read again"):
        attacked(made, hard(made))


# --- Where it goes ---


def chat_model(template: str) -> LoadedModel:
    """Return a model whose tokenizer has a chat template, and a token that joins a stop with a new
    line."""
    core = Tokenizer(
        BPE({"<unk>": 0, "<turn>": 1, "<end>": 2, "<s>": 3} | {c: at + 4 for at, c in enumerate("abcdeuser .\n!x")} | {".\n": 30},
            [(".", "\n")], unk_token="<unk>")
    )  # fmt: skip
    core.decoder = decoders.Fuse()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>",
        additional_special_tokens=["<turn>", "<end>"],
    )  # fmt: skip
    made.chat_template = template
    return LoadedModel(adapt(llama()), made)


GEMMA = "{{ bos_token }}{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] | trim }}<end>\n{% endfor %}<turn>x"
PLAIN = "{% for m in messages %}user {{ m['content'] }}\n{% endfor %}x"
REPEATS = (
    "{% for m in messages %}<turn>{{ m['content'] }}<turn>{{ m['content'] }}<end>{% endfor %}x"
)


@pytest.mark.parametrize("template", [GEMMA, PLAIN, REPEATS])
@pytest.mark.parametrize("prompt", ["abc", "a b ", "a.\n", "abc!"])
def test_a_suffix_goes_after_the_request_and_before_the_turn_ends(
    template: str, prompt: str
) -> None:
    model = chat_model(template)
    example = Example("e", prompt, {})
    parts = model.prompt_parts(example, chat=True)
    (whole,) = model.encode_prompts([example], chat=True)
    assert parts.before_ids + parts.after_ids == whole
    assert parts.before.endswith(prompt.strip() if template == GEMMA else prompt)
    assert parts.after == {GEMMA: "<end>\n<turn>x", PLAIN: "\nx", REPEATS: "<end>x"}[template]


def test_a_token_that_reaches_into_the_end_of_the_turn_is_split_by_a_suffix() -> None:
    model = chat_model(PLAIN)
    example = Example("e", "abc.", {})
    parts = model.prompt_parts(example, chat=True)
    (whole,) = model.encode_prompts([example], chat=True)
    assert 30 in whole and 30 not in parts.before_ids + parts.after_ids
    assert parts.before_ids == model.encode_text("user abc.")
    assert parts.after_ids == model.encode_text("\nx")


def test_without_a_chat_a_suffix_is_the_end_of_the_prompt() -> None:
    parts = chat_model(GEMMA).prompt_parts(Example("e", "abc", {}), chat=False)
    assert (parts.before, parts.after, parts.after_ids) == ("abc", "", [])


@pytest.mark.parametrize(
    "template", ["<turn>x", "{% for m in messages %}{{ m['content'] }}{{ m['content'] | length }}{% endfor %}"]
)  # fmt: skip
def test_a_template_that_hides_where_the_request_ends_is_refused(template: str) -> None:
    with pytest.raises(UnavailableError, match="where the user's request ends"):
        chat_model(template).prompt_parts(Example("e", "abc", {}), chat=True)


def test_a_suffix_is_in_the_turn_when_the_model_reads_it() -> None:
    made = suffixed()
    model = chat_model(GEMMA)
    made.resources.model = model
    made.resources.examples = [Example("e", prompt, {}) for prompt in ("abc", "a", "ee .")]
    made.resources.prompt_parts = [
        model.prompt_parts(example, chat=True) for example in made.resources.examples
    ]
    made.resources.prompts = model.encode_prompts(made.resources.examples, chat=True)
    rows = [0, 1, 2]
    typable = TypableTokens.of(model)
    marks = [typable.plain[0]] * 3
    posed = suffix_problem(
        made.resources, hard(made), made.protected, rows, made.answers(rows), marks
    )
    shown = [
        model.tokenizer.decode([id for id, real in zip(ids, mask, strict=True) if real])
        for ids, mask in zip(
            posed.prompts.ids_BT.tolist(), posed.prompts.mask_BT.tolist(), strict=True
        )
    ]
    assert shown == [
        f"<s><turn>user\n{prompt}!!!!<end>\n<turn>x" for prompt in ("abc", "a", "ee .")
    ]
    found = attacked(made, hard(made, steps=3), rows)
    assert ids_of(found).shape == (3, TOKENS)
