"""The data that the audits in `specs/` use is what its README promises."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from recoverdsl.language.schema import Data, File
from recoverdsl.measure.phrases import load_phrases
from recoverdsl.measure.texts import opening
from recoverdsl.sources.data import Example, load_examples
from recoverdsl.sources.fetcher import Fetcher

PLACE = Path(__file__).parents[1] / "specs" / "data"


def load(name: str, answer: str | None = None) -> list[Example]:
    return load_examples(Data(File(name), answer=answer), Fetcher(PLACE))


def words(text: str | None) -> int:
    return len((text or "").split())


def test_requests() -> None:
    requests = load("requests.jsonl")
    assert len(requests) >= 200
    assert all(list(request.fields) == ["id", "category", "prompt"] for request in requests)
    for what in ([r.fields["id"] for r in requests], [r.prompt.casefold() for r in requests]):
        assert len(set(what)) == len(requests)
    categories = Counter(request.category for request in requests)
    assert set(categories) == {"how-to", "explanation", "writing", "advice", "code"}
    assert min(categories.values()) >= 40
    assert all(5 <= words(request.prompt) <= 40 for request in requests)


def test_the_same_requests_are_refused_and_answered() -> None:
    refusing, answering = load("refusing.jsonl", "answer"), load("answering.jsonl", "answer")
    assert len(refusing) == len(answering) == 48
    for name, examples in (("refusing", refusing), ("answering", answering)):
        assert [example.id for example in examples] == [f"{name}-{n:02d}" for n in range(1, 49)]
        assert all(list(example.fields) == ["id", "prompt", "answer"] for example in examples)
        assert len({example.answer for example in examples}) == 48
    prompts = [example.prompt for example in refusing]
    assert prompts == [example.prompt for example in answering]
    assert len({prompt.casefold() for prompt in prompts}) == 48
    assert all(20 <= words(example.answer) <= 45 for example in refusing)
    assert all(25 <= words(example.answer) <= 60 for example in answering)


def test_features_are_not_chosen_on_requests_they_are_tested_on() -> None:
    requests = {request.prompt.casefold() for request in load("requests.jsonl")}
    assert not requests & {example.prompt.casefold() for example in load("refusing.jsonl")}


def test_refusing_replies_are_found_refusing_and_answering_ones_are_not() -> None:
    phrases = load_phrases()
    for name, begins in (("refusing", "refusal"), ("answering", "answer")):
        for example in load(f"{name}.jsonl", "answer"):
            assert opening(example.answer or "", phrases) == begins, example
