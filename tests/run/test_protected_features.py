"""The protected features of a result: their values against plain transformers, and what selected them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sae_lens
import torch
import transformers

import recoverdsl
from recoverdsl.audit.records import Run
from recoverdsl.measure.protected_features import ProtectedFeatures
from recoverdsl.report.protected_features import feature_tables
from tests.run import claims


def protected(folder: Path, text: str, batch_size: int | None = None) -> ProtectedFeatures:
    claims.write(folder).write_text(text)
    run = recoverdsl.load(folder / "claim.rec").run(store=None, batch_size=batch_size)
    assert isinstance(run, Run)
    assert all("–" not in one.summary for one in feature_tables(run.result))
    return run.result.protected["clamp"]


def alone(text: str) -> str:
    """Return a spec without its attacks, which have no part in this."""
    return text[: text.index("attack unconstrained")]


def by_hand(folder: Path, found: ProtectedFeatures, *, always: bool) -> None:
    """Compare the figures with those of the unmodified model, one prompt at a time, without padding."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    sae = sae_lens.SAE.load_from_disk(folder / "sae")
    ids = [feature.id for feature in found.features]
    states: list[torch.Tensor] = []
    model.model.layers[1].register_forward_hook(lambda *a: states.append(a[2][0] if isinstance(a[2], tuple) else a[2]))  # fmt: skip
    base, defended, tokens, active = (torch.zeros(len(ids)).double() for _ in range(4))
    covered = 0
    with torch.no_grad():
        for row in claims.rows():
            states.clear()
            model(**tokenizer(row["prompt"], return_tensors="pt"))
            h_TD = states[0].reshape(-1, states[0].shape[-1])[1:].float()
            z_TS = sae.encode(h_TD)[:, ids]
            acts_TS = torch.ones_like(z_TS).bool() if always else z_TS > 0
            clamped_TD = h_TD + torch.where(acts_TS, -5.0 - z_TS, 0.0) @ sae.W_dec[ids]
            y_TS = sae.encode(clamped_TD)[:, ids]
            base += (z_TS * acts_TS).double().sum(0)
            defended += (y_TS * acts_TS).double().sum(0)
            tokens += acts_TS.double().sum(0)
            active += (z_TS > 0).any(0).double()
            covered += len(h_TD)
    assert (found.prompts, found.tokens) == (24, covered)
    assert [feature.tokens for feature in found.features] == tokens.int().tolist()
    assert [feature.active for feature in found.features] == (active / 24).tolist()
    for name, sums in (("value_base", base), ("value_defended", defended)):
        values = [getattr(feature, name) for feature in found.features]
        assert values == pytest.approx((sums / tokens).tolist(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("when", ["active", "always"])
def test_the_values_are_those_of_plain_transformers(
    tmp_path: Path, when: str, batch_size: int | None
) -> None:
    text = alone(claims.SPEC).replace("when = active", f"when = {when}")
    found = protected(tmp_path, text, batch_size)
    assert (found.when, found.at, found.protect) == (when, "every_token except first", "chosen")
    by_hand(tmp_path, found, always=when == "always")


def test_a_ranking_gives_a_rank_and_a_list_none(tmp_path: Path) -> None:
    ranked = protected(tmp_path, alone(claims.SPEC))
    assert ranked.ranked_by == "attribution(names_the_recipient)"
    assert [feature.rank for feature in ranked.features] == list(range(1, 11))
    effects = [feature.effect or 0.0 for feature in ranked.features]
    assert effects == sorted(effects, reverse=True)
    select = "top(10, by = attribution(names_the_recipient))"
    listed = protected(tmp_path, alone(claims.SPEC).replace(select, "features(3, 61)"))
    assert listed.ranked_by is None
    assert [(f.id, f.rank, f.effect) for f in listed.features] == [
        (3, None, None),
        (61, None, None),
    ]
    # A folder has no page.
    assert {feature.neuronpedia for feature in (*ranked.features, *listed.features)} == {None}


def test_what_ranked_them_is_written_as_in_the_spec(tmp_path: Path) -> None:
    claims.write(tmp_path)
    claims.write_rows(tmp_path / "ranking.jsonl", claims.rows(12, seed=3))
    text = alone(claims.HELD_OUT)
    found = protected(tmp_path, text)
    assert found.ranked_by is not None
    assert f"by = {found.ranked_by})" in text
    assert found.prompts == 24


def test_a_clamp_of_the_answer_alone_reads_nothing_of_the_prompts(tmp_path: Path) -> None:
    text = alone(claims.SPEC).replace("at   = every_token except first", "at = generated")
    found = protected(tmp_path, text)
    assert found.tokens == 0
    assert {(f.tokens, f.value_base, f.value_defended, f.active) for f in found.features} == {
        (0, None, None, None)
    }
