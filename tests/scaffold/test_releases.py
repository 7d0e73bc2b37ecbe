"""sae_lens's table of pretrained SAEs: read quickly, and read as sae_lens itself reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from recoverdsl.errors import UsageError
from recoverdsl.scaffold import releases
from recoverdsl.scaffold.releases import Pretrained, ids, pretrained
from recoverdsl.sources import sae_lens_table


@pytest.fixture(scope="module")
def table() -> Mapping[str, Any]:
    """The whole table, as YAML is meant to be read."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read: Mapping[str, Any] = yaml.load(sae_lens_table.text(), Loader=loader)
    return read


@pytest.fixture(scope="module")
def everything(table: Mapping[str, Any]) -> list[Pretrained]:
    return [
        Pretrained(name, sae["id"], str(sae["path"]), section)
        for name, section in table.items()
        for sae in section["saes"]
    ]


def test_the_names_are_those_of_the_table(table: Mapping[str, Any]) -> None:
    assert sae_lens_table.releases() == list(table)


def test_one_release_at_a_time_is_read_as_the_whole_table_is(table: Mapping[str, Any]) -> None:
    for name in list(table)[::9]:
        assert releases._section(name) == table[name]
        assert ids(name) == [sae["id"] for sae in table[name]["saes"]]


def test_every_converter_is_understood(everything: list[Pretrained]) -> None:
    assert all(sae.understood for sae in everything)


def test_where_an_sae_reads_is_what_its_id_says(everything: list[Pretrained]) -> None:
    for sae in everything:
        hook = re.match(r"blocks\.(\d+)\.hook_(\w+?)(_\d+)?(__trainer.*)?$", sae.id)
        if hook:
            side = {"resid_pre": "input", "resid_post": "output"}.get(hook[2])
            assert sae.site == (side and (int(hook[1]), side))


def test_what_reads_no_residual_stream_has_no_site(everything: list[Pretrained]) -> None:
    for sae in everything:
        elsewhere = re.search(r"transcoder|[-_]mlp|[-_]att|hook_z|mid|clt|lx[am]_|^embedding", f"{sae.release} {sae.id}")  # fmt: skip
        assert (sae.site is None) == bool(elsewhere or sae.id.startswith("embedding")), sae


def test_where_an_sae_reads_is_what_sae_lens_says(everything: list[Pretrained]) -> None:
    from sae_lens.loading import pretrained_sae_loaders as loaders

    # The converters that find it out without a download.
    offline = {
        "gemma_2": loaders.get_gemma_2_config_from_hf,
        "goodfire": loaders.get_goodfire_config_from_hf,
        "deepseek_r1": loaders.get_deepseek_r1_config_from_hf,
        "qwen_scope": loaders.get_qwen_scope_config_from_hf,
    }
    compared = 0
    for sae in everything:
        converter = offline.get(sae.entry.get("conversion_func", ""))
        if converter:
            hook = converter(sae.entry["repo_id"], sae.path, "cpu")["hook_name"]
            point = re.fullmatch(r"blocks\.(\d+)\.hook_resid_post", hook)
            assert sae.site == ((int(point[1]), "output") if point else None), sae.id
            compared += 1
    assert compared > 3000


def test_the_model_is_found_where_the_table_names_a_repository() -> None:
    scope = pretrained("gemma-scope-2b-pt-res-canonical", "layer_12/width_16k/canonical")
    assert (scope.model, scope.repository) == ("gemma-2-2b", "google/gemma-2-2b")
    small = pretrained("gpt2-small-res-jb", "blocks.8.hook_resid_pre")
    assert (small.repository, small.site) == ("openai-community/gpt2", (8, "input"))


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    with pytest.raises(UsageError) as unknown:
        pretrained("gemma-scope-2b-pt-res-canonica", "layer_12/width_16k/canonical")
    assert "did you mean gemma-scope-2b-pt-res-canonical," in str(unknown.value)
    with pytest.raises(UsageError) as unknown:
        pretrained("gemma-scope-2b-pt-res-canonical", "layer_12/width_17k/canonical")
    assert "did you mean layer_12/width_16k/canonical," in str(unknown.value)
    with pytest.raises(UsageError, match=r"there are \d+: "):
        pretrained("zzz", "layer_12")
