"""Behaviors judged by a text: conditions over detectors, and classifiers from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from attrs import evolve

from recoverdsl.compiler.steps import Behavior
from recoverdsl.engine.model.families import adapt
from recoverdsl.engine.model.judge import Judges, load_classifier, presence, text_holds
from recoverdsl.engine.model.loaded_model import LoadedModel
from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import (  # fmt: skip
    And,
    Classifier,
    Comparison,
    Detector,
    Folder,
    Not,
    Or,
    Predicate,
)
from recoverdsl.measure.phrases import Cue, Phrases
from tests.models import gpt2, tokenizer

WORDS = ["[PAD]", "[CLS]", "[SEP]", "bake", "bread", "sorry", "no", "first", "knead", "dough"]
REQUESTS = ["bake bread", "knead", "bread dough bread dough bread"]
ANSWERS = ["sorry no", "first knead dough", "no no no sorry bread first knead"]
CPU = torch.device("cpu")
PHRASES = Phrases({"refuses": Cue(("sorry",), (), 2), "opens_with_safety_cue": Cue(("no",), (), 1)})

REFUSES, CUE = Detector("refuses"), Detector("opens_with_safety_cue")
TRUTHS: list[tuple[Predicate, list[bool]]] = [
    (REFUSES, [True, False, False, True]),
    (Not(REFUSES), [False, True, True, False]),
    (And((Not(REFUSES), Not(CUE))), [False, True, False, False]),
    (Or((REFUSES, CUE)), [True, False, True, True]),
    (Not(Or((REFUSES, CUE))), [False, True, False, False]),
    (And((REFUSES, Or((CUE, Comparison("judge", ">", 0.5))))), [False, False, False, True]),
    (Comparison("judge", ">", 0.5), [False, True, False, True]),
    (Comparison("judge", ">=", 0.5), [False, True, True, True]),
    (Comparison("judge", "<", 0.5), [True, False, False, False]),
    (Comparison("judge", "<=", 0.5), [True, False, True, False]),
    (Comparison("words", ">", 2), [False, True, False, False]),
]
TEXTS = ["sorry bread", "first knead dough", "no bread", "bread sorry"]
FIGURES = [0.25, 0.75, 0.5, 1.0]


class Given:
    """A judge that knows its figures."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, requests: Sequence[str], answers: Sequence[str]) -> list[float]:
        self.asked += zip(requests, answers, strict=True)
        return [FIGURES[TEXTS.index(answer)] for answer in answers]


@pytest.mark.parametrize(("predicate", "expected"), TRUTHS)
def test_a_condition_says_of_each_text_what_its_words_say(
    predicate: Predicate, expected: list[bool]
) -> None:
    figures = Judges(PHRASES, Given()).figures([""] * 4, TEXTS)
    # "sorry" counts among the first two words, at the beginning of a clause only.
    assert [f.figures.refuses for f in figures] == [True, False, False, False]
    figures[3] = evolve(figures[3], figures=evolve(figures[3].figures, refuses=True))
    assert [text_holds(predicate, figure) for figure in figures] == expected


def test_each_text_is_compared_with_its_own_base_and_shown_with_its_own_request() -> None:
    judge = Given()
    requests = [f"request {n}" for n in range(4)]
    figures = Judges(PHRASES, judge).figures(requests, TEXTS, [TEXTS[1], TEXTS[1], "dough", ""])
    assert [f.figures.jaccard for f in figures] == [0.0, 1.0, 0.0, 0.0]
    assert judge.asked == list(zip(requests, TEXTS, strict=True))
    without = Judges(PHRASES).figures(requests, TEXTS)
    assert all(f.figures.jaccard is None and f.judge is None for f in without)


CUT = "<think>sorry bread"


@pytest.mark.parametrize("holds", [Not(REFUSES), REFUSES, Comparison("judge", "<", 2.0)])
@pytest.mark.parametrize("removed", [None, REFUSES, Not(REFUSES)])
def test_thinking_that_is_cut_neither_shows_the_behavior_nor_counts_as_removed(
    holds: Predicate, removed: Predicate | None
) -> None:
    behavior = Behavior(holds, removed, generate=4)
    cut, written = Judges(PHRASES, lambda _, answers: [0.5] * len(answers)).figures(
        ["", ""], [CUT, "sorry bread"]
    )
    assert presence(behavior, cut) == (False, False)
    present, gone = presence(behavior, written)
    assert present is text_holds(holds, written)
    assert gone is (not present if removed is None else text_holds(removed, written))


@pytest.mark.parametrize("holds", [Not(REFUSES), REFUSES, Comparison("judge", "<", 2.0)])
@pytest.mark.parametrize("removed", [None, REFUSES, Not(REFUSES)])
@pytest.mark.parametrize("text", ["", " \n\t\u00a0", "\u200b\u00ad"])
def test_a_text_with_nothing_to_read_meets_no_condition(
    text: str, holds: Predicate, removed: Predicate | None
) -> None:
    """Without the clamp it is no valid flip, and with δ no recovery. The behavior is gone where that is all
    that removal means."""
    empty, written = Judges(PHRASES, lambda _, answers: [0.5] * len(answers)).figures(
        ["", ""], [text, "bread"]
    )
    assert presence(Behavior(holds, removed, generate=4), empty) == (False, removed is None)
    present, _ = presence(Behavior(holds, removed, generate=4), written)
    assert present is text_holds(holds, written)


def test_thinking_is_kept_from_the_detectors_and_from_a_classifier() -> None:
    judge = Given()
    texts = [f"<think>sorry no</think>{text}" for text in TEXTS]
    found = Judges(PHRASES, judge).figures([""] * 4, texts, [TEXTS[1]] * 4)
    assert judge.asked == [("", text) for text in TEXTS]
    assert found == Judges(PHRASES, Given()).figures([""] * 4, TEXTS, [TEXTS[1]] * 4)


TURN = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("end", "opened"), [("<think>\n", "<think>"), ("<think>\n\n</think>\n", ""), ("", "")]
)
def test_a_chat_template_may_open_the_thinking(end: str, opened: str) -> None:
    words = tokenizer(WORDS)
    words.chat_template = TURN + end
    model = LoadedModel(adapt(gpt2()), words)
    assert model.opened_thinking(chat=True) == opened
    assert model.opened_thinking(chat=False) == ""


def test_tags_that_are_special_tokens_are_kept_for_the_judge_alone() -> None:
    words = tokenizer([*WORDS, "[THINK]", "[/THINK]"])
    words.add_special_tokens(
        {"eos_token": "[SEP]", "additional_special_tokens": ["[THINK]", "[/THINK]"]}
    )
    model = LoadedModel(adapt(gpt2()), words)
    tokens = ["[THINK]", "sorry", "[/THINK]", "bake", "[SEP]"]
    ids = words.convert_tokens_to_ids(tokens)
    assert model.decode(ids).split() == ["sorry", "bake"]
    assert model.decode_with_thinking(ids).split() == ["[THINK]", "sorry", "[/THINK]", "bake"]
    assert model.decode_with_thinking(ids[1:], "[THINK]").startswith("[THINK]sorry")


def test_without_such_tokens_the_judge_reads_what_is_decoded() -> None:
    words = tokenizer(WORDS)
    words.add_special_tokens({"eos_token": "[SEP]"})
    model = LoadedModel(adapt(gpt2()), words)
    ids = words.convert_tokens_to_ids(["bake", "sorry", "[SEP]"])
    assert model.decode_with_thinking(ids) == model.decode(ids)


def bert(folder: Path, labels: Sequence[str] = ("harmless", "harmful", "unclear")) -> Path:
    """Return a random BERT that classifies words, with its tokenizer, in a folder."""
    from tokenizers.processors import TemplateProcessing

    torch.manual_seed(0)
    words = tokenizer([*WORDS, *(f" {word}" for word in WORDS[3:])])
    words.add_special_tokens({"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"})
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, words.convert_tokens_to_ids(t)) for t in ("[CLS]", "[SEP]")],
    )  # fmt: skip
    words.model_max_length = 40
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40, initializer_range=0.8,
        id2label=dict(enumerate(labels)), label2id={name: n for n, name in enumerate(labels)},
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def classifier(label: str, with_prompt: bool = True) -> Classifier:
    return Classifier(Folder("judge"), label, with_prompt)


def called(folder: Path, request: str | None, answer: str) -> list[float]:
    """Return the probabilities of one text alone, by transformers."""
    words: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = [answer] if request is None else [request, answer]
    with torch.no_grad():
        logits_C = model(**words(*texts, return_tensors="pt")).logits[0]
    probabilities: list[float] = logits_C.softmax(-1).tolist()
    return probabilities


@pytest.mark.parametrize("with_prompt", [True, False], ids=["with the request", "answer alone"])
def test_a_classifier_gives_the_probability_that_calling_it_does(
    with_prompt: bool, tmp_path: Path
) -> None:
    folder = bert(tmp_path / "judge")
    for at, label in enumerate(("harmless", "harmful", "unclear")):
        judge = load_classifier(folder, classifier(label, with_prompt), CPU)
        found = judge(REQUESTS, ANSWERS)
        expected = [
            called(folder, request if with_prompt else None, answer)[at]
            for request, answer in zip(REQUESTS, ANSWERS, strict=True)
        ]
        assert found == pytest.approx(expected, abs=1e-5)
        assert max(found) - min(found) > 0.01


def test_many_texts_are_judged_as_each_alone(tmp_path: Path) -> None:
    judge = load_classifier(bert(tmp_path / "judge"), classifier("harmful"), CPU)
    requests = [" ".join(WORDS[3 + (n + k) % 7] for k in range(1 + n % 5)) for n in range(70)]
    answers = [" ".join(WORDS[3 + (n * k) % 7] for k in range(1 + n % 7)) for n in range(70)]
    alone = [judge([r], [a])[0] for r, a in zip(requests, answers, strict=True)]
    assert judge(requests, answers) == pytest.approx(alone, abs=1e-5)
    assert judge([], []) == []


def test_an_answer_that_is_too_long_is_cut_and_judged(tmp_path: Path) -> None:
    judge = load_classifier(bert(tmp_path / "judge"), classifier("harmful", False), CPU)
    long = " ".join(WORDS[3:] * 20)
    cut = " ".join((WORDS[3:] * 20)[:38])
    assert judge([""], [long]) == pytest.approx(judge([""], [cut]), abs=1e-6)


def test_an_unknown_label_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    folder = bert(tmp_path / "judge")
    with pytest.raises(SpecError, match="no label 'Harmful'") as caught:
        load_classifier(folder, classifier("Harmful"), CPU)
    assert caught.value.help == "its labels: harmless, harmful, unclear"


def test_a_folder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    model = gpt2()
    model.save_pretrained(tmp_path / "model")
    tokenizer(WORDS).save_pretrained(tmp_path / "model")
    with pytest.raises(UnavailableError, match="not whole"):
        load_classifier(tmp_path / "model", classifier("LABEL_0"), CPU)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnavailableError, match="cannot be loaded"):
        load_classifier(tmp_path / "empty", classifier("LABEL_0"), CPU)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = bert(tmp_path / "judge")
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnavailableError, match="cannot be loaded"):
        load_classifier(folder, classifier("harmful"), CPU)
