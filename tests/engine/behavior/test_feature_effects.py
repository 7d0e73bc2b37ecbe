"""Effects that rank features: contrast between texts, means, attribution; planted and computed twice."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import (
    LoadData,
    LoadModel,
    LoadSae,
    MeanActivations,
    RankByAttribution,
    RankByContrast,
    SelectFeatures,
)
from recoverdsl.engine.behavior.feature_effects import attribution, sum_over_texts, top_features
from recoverdsl.engine.behavior.observation import score_of
from recoverdsl.engine.defense.autoencoders import Autoencoder
from recoverdsl.engine.resources import Text
from recoverdsl.engine.steps.feature_records import ActivationSums, SelectedFeatures
from recoverdsl.engine.steps.runner import Runner
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Positions
from recoverdsl.store.steps import Store
from tests.bounds import ENCODE, GRADIENT, PASS, assert_near, near
from tests.engine.rigs import CLAMPED, SCORE, Rig, each_family, rig, two_families
from tests.models import jumprelu

LATER = Positions(("every_token",), ("first",))
MORE = [Text([5, 9], [7, 33, 12]), Text([41], [7]), Text([3, 3, 28, 19], [50, 44, 7, 21, 2])]
LESS = [Text([22], [35, 1, 14, 60]), Text([8, 17, 17], [4, 4])]


class Quiet:
    """Shows nothing."""

    def busy(self, what: str) -> Any:
        return nullcontext()

    def began(self, node: Any, examples: int) -> Any:
        return lambda done: None

    def ended(self, *arguments: Any) -> None:
        pass


CONTRAST = RankByContrast()


def runner(
    made: Rig,
    folder: Path,
    step: SelectFeatures,
    batch: int | None = None,
    by: RankByAttribution | RankByContrast = CONTRAST,
) -> Runner:
    """Return a graph that ranks and selects features, and takes their means over the first of two
    sets of texts."""
    graph = Graph({})
    model = graph.add("model", LoadModel("", "float32"))
    data = graph.add("data", LoadData("", None, None, None, False), of_block="data")
    saes = {
        f"sae {n}": graph.add(f"sae {n}", LoadSae(str(n), n, "output"), of_block=name)
        for n, name in enumerate(made.resources.autoencoders)
    }
    texts = {
        role: graph.add(role, LoadData(role, None, None, None, False), of_block=role)
        for role in ("texts", "against")
    }
    inputs = {"model": model, "data": data, **saes}
    ranking = graph.add("rank", by, **inputs, **(texts if by == CONTRAST else {}))
    chosen = graph.add("select", step, **saes, ranking=ranking)
    graph.add("means", MeanActivations(), **inputs, features=chosen, texts=texts["texts"])
    made.resources.over = lambda name: made.resources  # type: ignore[method-assign]
    made.resources.texts = lambda name: MORE if name == "texts" else LESS  # type: ignore[method-assign]
    return Runner(graph, made.resources, Store(folder), Quiet(), batch)


def selected(
    made: Rig,
    folder: Path,
    step: SelectFeatures,
    batch: int | None = None,
    by: RankByAttribution | RankByContrast = CONTRAST,
) -> tuple[list[tuple[int, int]], list[float], ActivationSums]:
    """Return (SAE, feature) in order, their effects, and sums for the means."""
    output = runner(made, folder, step, batch, by).run()
    rows = output.record("select", SelectedFeatures).rows
    return (
        [(row.sae, row.feature) for row in rows], [row.effect for row in rows],
        output.record("means", ActivationSums),
    )  # fmt: skip


def plain_mean(made: Rig, site: int, texts: Sequence[Text]) -> Tensor:
    """Return the mean activations (64,) over the tokens that are read, text by text."""
    rows = []
    for text in texts:
        seen: dict[int, Tensor] = {}
        made.undefended.logits([*text.before, *text.read], {}, seen)
        rows.append(made.plain.saes[site].encode(seen[site])[len(text.before) :])
    return torch.cat(rows).double().mean(0)


@each_family
def test_means_are_those_of_the_plain_model_text_by_text(kind: str) -> None:
    made = rig(kind)
    readers = {sae.boundary: sae for sae in made.saes}
    sums, count = sum_over_texts(made.resources, readers, MORE)
    assert count == 9
    for site in CLAMPED:
        expected = plain_mean(made, site, MORE)
        assert expected.max() > 0.1
        torch.testing.assert_close(sums[site] / count, expected, atol=1e-5, rtol=0)
    narrow, _ = sum_over_texts(made.resources, made.protected.features, MORE)
    for site, ids in CLAMPED.items():
        torch.testing.assert_close(narrow[site], sums[site][ids], atol=1e-4, rtol=0)


@two_families
def test_a_contrast_is_the_difference_of_the_means(kind: str, tmp_path: Path) -> None:
    made = rig(kind)
    step = SelectFeatures(count=7, each=True)
    chosen, effects, means = selected(made, tmp_path, step)
    assert len(chosen) == 21
    for number, site in enumerate(CLAMPED):
        contrast_F = plain_mean(made, site, MORE) - plain_mean(made, site, LESS)
        expected = contrast_F.topk(7)
        own = [feature for sae, feature in chosen if sae == number]
        assert own == expected.indices.tolist()
        ranked = [e for (sae, _), e in zip(chosen, effects, strict=True) if sae == number]
        assert ranked == pytest.approx(expected.values.tolist(), abs=1e-5)
        assert int(means.tokens.sum()) == 9
        torch.testing.assert_close(
            means.mean(site), plain_mean(made, site, MORE)[own], atol=1e-5, rtol=0
        )


@two_families
def test_over_all_saes_together_the_strongest_count_wherever_they_are(
    kind: str, tmp_path: Path
) -> None:
    made = rig(kind)
    chosen, effects, _ = selected(made, tmp_path, SelectFeatures(count=10))
    contrasts = [plain_mean(made, site, MORE) - plain_mean(made, site, LESS) for site in CLAMPED]
    ranked = sorted(
        ((float(c[f]), number, f) for number, c in enumerate(contrasts) for f in range(64)),
        reverse=True,
    )
    assert sorted(chosen) == sorted((number, f) for _, number, f in ranked[:10])
    assert min(effects) == pytest.approx(ranked[9][0], abs=1e-5)
    assert len({sae for sae, _ in chosen}) > 1


@pytest.mark.parametrize("batch", [1, 2, 4, 5])
@pytest.mark.parametrize("by", ["contrast", "attribution"])
def test_the_batch_size_changes_no_selection_and_no_mean(
    batch: int, by: Any, tmp_path: Path
) -> None:
    """A batch of four holds texts of both sides, a batch of five all of them."""
    ranking = CONTRAST if by == "contrast" else RankByAttribution(SCORE, LATER)
    step = SelectFeatures(count=12)
    chosen, effects, means = selected(rig(), tmp_path / "whole", step, 100, ranking)
    again, others, sums = selected(rig(), tmp_path / "parts", step, batch, ranking)
    assert again == chosen
    assert others == near(effects, PASS if by == "contrast" else GRADIENT)
    assert int(sums.tokens.sum()) == int(means.tokens.sum())
    assert sums.totals.keys() == means.totals.keys()
    for site, total in means.totals.items():
        assert_near(sums.totals[site].sum(0), total.sum(0), PASS + ENCODE)


def test_a_contrast_finds_the_features_in_which_texts_were_made_to_differ(tmp_path: Path) -> None:
    """At the embeddings of 24 tokens, each the direction that one feature reads."""
    made = rig(prompts=[[1, 2]])
    sae = jumprelu(d_sae=24, threshold=0.1)
    directions = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(0)))[0]
    with torch.no_grad():
        made.plain.model.model.embed_tokens.weight[:24] = directions
        sae.W_enc.copy_(directions.T)
        sae.W_dec.copy_(directions)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    made.resources.autoencoders = {"bottom": Autoencoder(sae, 0)}
    # 11 and 4 are only on the one side, 4 twice as often; 9 is before every text, 6 on both sides.
    one = [Text([9], [6, 11, 4]), Text([9, 9], [4, 3, 6, 2])]
    other = [Text([9], [6, 2]), Text([5], [3, 6, 8])]
    run = runner(made, tmp_path, SelectFeatures(count=2))
    made.resources.texts = lambda name: one if name == "texts" else other  # type: ignore[method-assign]
    rows = run.run().record("select", SelectedFeatures).rows
    assert [row.feature for row in rows] == [4, 11]
    assert [row.effect for row in rows] == near([2 / 7, 1 / 7], ENCODE, size=1.0)


def test_a_selection_cannot_be_larger_than_what_there_is(tmp_path: Path) -> None:
    step = SelectFeatures(count=65, each=True)
    with pytest.raises(UnavailableError, match=r"expected at most 64 features, found top\(65\)"):
        selected(rig(), tmp_path, step)
    chosen, _, _ = selected(rig(), tmp_path, SelectFeatures(count=65))
    assert len(chosen) == 65


def test_best_of_each_and_best_of_all() -> None:
    effects = [torch.tensor([0.1, 5.0, 3.0]), torch.tensor([4.0, -1.0, 0.2, 2.0])]
    assert [ids.tolist() for ids in top_features(effects, 2, each=True)] == [[1, 2], [0, 3]]
    assert [ids.tolist() for ids in top_features(effects, 4, each=False)] == [[1, 2], [0, 3]]
    assert [ids.tolist() for ids in top_features(effects, 1, each=False)] == [[1], []]


@each_family
def test_attribution_over_several_saes_is_that_over_each_alone(kind: str) -> None:
    made = rig(kind)
    indices = list(range(len(made.prompts)))
    goal = score_of(made.resources, SCORE, indices)
    together, _ = attribution(made.resources, made.saes, goal, LATER, indices)
    for sae, effect_F in zip(made.saes, together, strict=True):
        (alone_F,), _ = attribution(made.resources, [sae], goal, LATER, indices)
        assert_near(alone_F, effect_F, GRADIENT)
        assert effect_F.abs().max() > 1e-3


@each_family
def test_attribution_is_activation_times_gradient_in_the_plain_model(kind: str) -> None:
    """The gradient of each activation, by a passage through the whole SAE that changes nothing."""
    made = rig(kind)
    indices = list(range(len(made.prompts)))
    goal = score_of(made.resources, SCORE, indices)
    found, _ = attribution(made.resources, made.saes, goal, LATER, indices)
    for number, site in enumerate(CLAMPED):
        sae = made.plain.saes[site]
        total_F = torch.zeros(64, dtype=torch.float64)
        for at, prompt in enumerate(made.prompts):
            seen: dict[int, Tensor] = {}
            made.undefended.logits(prompt, {}, seen)
            z_TF = sae.encode(seen[site]).requires_grad_(True)
            added_TD = sae.decode(z_TF) - sae.decode(z_TF).detach()
            fields = made.resources.examples[at].fields
            logits_V = made.undefended.logits(prompt, {site: added_TD})[-1]
            right, wrong = (
                made.resources.model.encode_text(fields[k])[0] for k in ("right", "wrong")
            )
            (gradient_TF,) = torch.autograd.grad(logits_V[right] - logits_V[wrong], z_TF)
            total_F += (z_TF.detach() * gradient_TF)[1:].double().sum(0)
        assert_near(found[number], total_F, GRADIENT)
