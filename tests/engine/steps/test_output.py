"""The record of a step is read as the class that the reader expects, or not at all."""

import pytest
import torch

from recoverdsl.compiler.graph import Graph
from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.steps.feature_records import ActivationSums, Attributions, Contrast, Ranking
from recoverdsl.engine.steps.output import Output, StepResult, ValidFlips
from recoverdsl.store.records import Record

SUMS = ActivationSums({0: torch.tensor([[3.0, 1.0]]).double()}, torch.tensor([1]))
RANKINGS: list[Record] = [
    Attributions({0: "scale"}, {0: torch.tensor([[3.0, 1.0]]).double()}, torch.tensor([True])),
    Contrast({0: "scale"}, {0: 0}, SUMS, ActivationSums({0: SUMS.totals[0] * 0}, SUMS.tokens)),
]


def output(record: Record | None) -> Output:
    return Output(Graph({}), {"rank": StepResult(record)})


@pytest.mark.parametrize("record", RANKINGS, ids=lambda record: type(record).__name__)
def test_every_ranking_is_read_as_one(record: Record) -> None:
    found = output(record).record("rank", Ranking)  # type: ignore[type-abstract]
    assert found is record
    assert found.mean(0).tolist() == [3, 1]
    assert (dict(found.encoders), found.left_out) == ({0: "scale"}, 0)


@pytest.mark.parametrize("record", [SUMS, Observations(()), ValidFlips(()), None])
def test_no_other_record_is_read_as_a_ranking(record: Record | None) -> None:
    with pytest.raises(AssertionError, match="rank has no Ranking"):
        output(record).record("rank", Ranking)  # type: ignore[type-abstract]
