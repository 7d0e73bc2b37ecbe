"""Records of steps: taken apart and put together again, joined, divided, and told from one another."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
import torch
from attrs import frozen
from cattrs import BaseValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.steps import executor
from recoverdsl.engine.steps.delta_split import DeltaParts
from recoverdsl.engine.steps.evaluation import Recoveries
from recoverdsl.engine.steps.feature_records import ActivationSums, Attributions, Contrast
from recoverdsl.engine.steps.suffix import Suffixes
from recoverdsl.measure.rows import Observation
from recoverdsl.store.records import joined, on_device, pack, rows_of, unpack
from recoverdsl.store.steps import Part, Store

executor._load()
RECORDS = sorted({e.record for e in executor._EXECUTORS.values()}, key=lambda kind: kind.__name__)
"""Every class that the store keeps, or that one step hands to another."""

each_record = pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
WIDTHS = {"L": 2, "P": 3, "N": 4, "D": 5}
INTEGERS = {"ids_BN", "suffix_ids_BN", "length_B", "sites_BL", "tokens"}
FLAGS = {"ended_B", "broken_B", "finite_B"}


def values(hint: Any, count: int, name: str = "") -> st.SearchStrategy[Any]:
    """Any value of a field, for a number of examples."""
    if hint is Tensor:
        return tensors(name, count)
    if attrs.has(hint):
        hints = get_type_hints(hint)
        fields = {f.name: values(hints[f.name], count, f.name) for f in attrs.fields(hint)}
        return st.builds(hint, **fields)
    match get_origin(hint), get_args(hint):
        case (origin, inner) if origin in (Union, UnionType):
            return st.one_of(
                *(st.none() if one is NoneType else values(one, count, name) for one in inner)
            )
        case (origin, words) if origin is Literal:
            return st.sampled_from(words)
        case (origin, (inner, _)) if origin is tuple:
            return st.lists(values(inner, count), min_size=count, max_size=count).map(tuple)
        case (origin, (key, inner)) if origin is Mapping:
            return st.dictionaries(values(key, count), values(inner, count), max_size=3)
    return {bool: st.booleans(), int: st.integers(), float: st.floats(), str: st.text()}[hint]


def tensors(name: str, count: int) -> st.SearchStrategy[Tensor]:
    """Tensors of the shape that a field's name tells, some values of which are no numbers."""
    shape = [WIDTHS[letter] for letter in name.rpartition("_B")[2]] if "_B" in name else [2]
    if name == "tokens":
        shape = []

    def drawn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        made = torch.randint(-9, 9, (count, *shape), generator=generator)
        if name in FLAGS:
            return made > 0
        return made if name in INTEGERS else torch.where(made < -8, torch.nan, made / 7)

    return st.integers(0, 2**31).map(drawn)


def same(a: Any, b: Any) -> bool:
    """Whether two values are of the same types and equal throughout; NaN equals NaN."""
    if type(a) is not type(b) and not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(torch.nan_to_num(a, 99.0), torch.nan_to_num(b, 99.0))  # fmt: skip
    if attrs.has(type(a)):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in attrs.fields(type(a)))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b or (a != a and b != b))


@each_record
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_record_comes_back_as_it_was(kind: type, data: st.DataObject) -> None:
    record = data.draw(values(kind, data.draw(st.integers(1, 4))))
    assert same(unpack(kind, *pack(record)), record)


@each_record
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_record_comes_back_from_the_store(
    tmp_path_factory: pytest.TempPathFactory, kind: type, data: st.DataObject
) -> None:
    record = data.draw(values(kind, 3))
    entry = Store(tmp_path_factory.mktemp("store")).entry("0123")
    entry.append(0, Part(3, record, 0.25))
    found = entry.load(0, kind)
    assert found is not None
    assert same(found, Part(3, record, 0.25))


@each_record
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_batches_joined_are_the_whole(kind: type, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    whole = data.draw(values(kind, count))
    cuts = sorted({0, count, *data.draw(st.lists(st.integers(1, count), max_size=3))})
    batches = [rows_of(whole, slice(start, stop)) for start, stop in pairwise(cuts)]
    assert same(joined(batches), whole)


@each_record
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_rows_of_a_record_are_those_of_each_of_its_fields(kind: type, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5))
    whole = data.draw(values(kind, count))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, count), st.integers(0, count))))
    _, kept = pack(rows_of(whole, slice(start, stop)))
    _, all_kept = pack(whole)
    assert kept.keys() == all_kept.keys()
    for name, tensor in kept.items():
        assert same(tensor, all_kept[name][start:stop])
    for field in attrs.fields(kind):
        value = getattr(whole, field.name)
        if isinstance(value, tuple):
            some = rows_of(whole, slice(start, stop))
            assert same(getattr(some, field.name), value[start:stop])


@each_record
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_record_is_moved_with_all_of_its_tensors_and_nothing_else(
    kind: type, data: st.DataObject
) -> None:
    record = data.draw(values(kind, 2))
    here = pack(record)
    elsewhere = on_device(record, torch.device("meta"))
    assert all(tensor.is_meta for tensor in tensors_of(elsewhere))
    assert same(on_device(record, torch.device("cpu")), record)
    assert len(tensors_of(elsewhere)) == len(here[1])


def tensors_of(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if attrs.has(type(value)):
        value = [getattr(value, f.name) for f in attrs.fields(type(value))]
    if isinstance(value, Mapping):
        value = value.values()
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return []
    return [tensor for inner in value for tensor in tensors_of(inner)]


@pytest.mark.parametrize("other", RECORDS, ids=lambda kind: kind.__name__)
@each_record
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_record_of_another_class_is_refused(kind: type, other: type, data: st.DataObject) -> None:
    packed = pack(data.draw(values(other, 2)))
    if kind is other:
        unpack(kind, *packed)
        return
    with pytest.raises((BaseValidationError, ValueError, KeyError, TypeError)):
        unpack(kind, *packed)


@each_record
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_record_without_one_of_its_tensors_is_refused(kind: type, data: st.DataObject) -> None:
    text, kept = pack(data.draw(values(kind, 2)))
    if not kept:
        return
    lost = data.draw(st.sampled_from(sorted(kept)))
    del kept[lost]
    with pytest.raises((BaseValidationError, ValueError, KeyError, TypeError)):
        unpack(kind, text, kept)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"example": "a"', '"example": null'), ('"example": "a"', '"example": 3'),
        ('"holds": true', '"holds": "no"'), ('"holds": true', '"holds": 1'), ('"holds": true', '"holds": null'),
        ('"score": 0.5', '"score": "0.5"'), ('"score": 0.5', '"score": true'),
        ('"answer_tokens": 7', '"answer_tokens": 7.5'), ('"answer_tokens": 7', '"answer_tokens": true'),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_and_not_converted(right: str, wrong: str) -> None:
    row = Observation(
        example="a", category=None, holds=True, removed=False, score=0.5, answer_tokens=7
    )
    text, tensors = pack(Observations((row,)))
    assert right in text
    with pytest.raises(BaseValidationError):
        unpack(Observations, text.replace(right, wrong), tensors)


def test_a_delta_of_shorter_prompts_gets_zeros_on_the_left() -> None:
    long, short = torch.ones(1, 2, 4, 3), 2 * torch.ones(2, 2, 1, 3)
    sites = torch.tensor([[1, 3]])
    whole = joined(
        [Recoveries((), long, sites), Recoveries((), short, sites.expand(2, -1))]
    )  # fmt: skip
    assert whole.delta_BLPD.shape == (3, 2, 4, 3)
    assert torch.equal(whole.delta_BLPD[:1], long)
    assert torch.equal(whole.delta_BLPD[1:, :, 3:], short)
    assert not whole.delta_BLPD[1:, :, :3].any()
    assert whole.sites_BL.tolist() == [[1, 3]] * 3


@frozen
class Row:
    score: float | None


@frozen
class Rows:
    rows: tuple[Row, ...]


def test_figures_that_are_no_number_and_those_that_are_missing_stay_apart() -> None:
    found = unpack(Rows, *pack(Rows((Row(float("nan")), Row(None), Row(float("-inf"))))))
    assert repr(found.rows) == "(Row(score=nan), Row(score=None), Row(score=-inf))"


def test_numbers_that_name_something_stay_numbers() -> None:
    sums = ActivationSums({12: torch.ones(1, 2).double(), 3: torch.zeros(1, 2).double()}, torch.tensor([4]))  # fmt: skip
    contrast = Contrast({0: "threshold"}, {0: 12}, sums, sums)
    assert list(unpack(ActivationSums, *pack(sums)).totals) == [12, 3]
    assert unpack(Contrast, *pack(contrast)).boundaries == {0: 12}


def test_every_record_of_the_engine_is_tested_here() -> None:
    assert {Recoveries, DeltaParts, Suffixes, Attributions, Contrast, ActivationSums} < set(RECORDS)
    assert len(RECORDS) >= 9
