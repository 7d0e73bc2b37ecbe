"""The protected features of each clamp, as a table."""

from __future__ import annotations

import re

from attrs import frozen

from recoverdsl.measure.protected_features import ProtectedFeature, ProtectedFeatures
from recoverdsl.measure.results import Result
from recoverdsl.report.words import NOTHING, clean_line, enumerated, figure, percent, plural
from recoverdsl.sources.sae_lens_table import NEURONPEDIA

MANY = 64
"""From so many features on, the page shows their table on demand."""

LINKED = "A feature's number links to its page on Neuronpedia."

HEADINGS = (
    "feature",
    "SAE",
    "rank",
    "effect",
    "active",
    "value without the clamp",
    "value under the clamp",
)
"""The headings of the cells of `FeatureRow`."""


@frozen
class FeatureRow:
    """One protected feature, formatted."""

    cells: tuple[str, ...]
    """By `HEADINGS`."""
    link: str | None
    """Its page on Neuronpedia."""


@frozen
class FeatureTable:
    """The features of one clamp."""

    summary: str
    """How many there are, how they were selected, and how many are active in any prompt."""
    caption: str
    """What the figures are over."""
    linked: str
    """That a feature's number links to its page; empty if none does."""
    rows: tuple[FeatureRow, ...]


def feature_tables(result: Result) -> list[FeatureTable]:
    """Return the table of each clamp whose features the result has."""
    return [
        FeatureTable(
            _summary(f"clamp {clean_line(name)}" if len(result.protected) > 1 else "clamp", one),
            _caption(one),
            LINKED if any(row.link for row in rows) else "",
            rows,
        )
        for name, one in result.protected.items()
        if (rows := tuple(map(_row, one.features)))
    ]


def _summary(clamp: str, one: ProtectedFeatures) -> str:
    saes = enumerated(map(clean_line, dict.fromkeys(feature.sae for feature in one.features)))
    how = f"selected by {clean_line(one.ranked_by)}" if one.ranked_by else "listed in the spec"
    text = f"The {clamp} acts on {plural(len(one.features), 'feature')} of {saes}, {how}."
    if not one.tokens:
        return text
    active = sum(bool(feature.active) for feature in one.features)
    return (
        f"{text} Without the clamp {active} of them {'is' if active == 1 else 'are'} active in at least one "
        f"of the {plural(one.prompts, 'tested prompt')}, at a token that the clamp covers."
    )


def _caption(one: ProtectedFeatures) -> str:
    if not one.tokens:
        return f"The clamp covers no token of the prompts ({clean_line(one.at)}), so no value was read."
    over = f"the tokens of these prompts that the clamp covers ({clean_line(one.at)})"
    at = f"{over} and at which the feature is active without it" if one.when == "active" else over
    return (
        f"Active: the share of the {plural(one.prompts, 'tested prompt')} in which the feature is above zero "
        f"without the clamp at some token that the clamp covers. Values: means over {at}. The value under "
        "the clamp is encoded anew from the clamped residual stream, so it need not be the one that the "
        "clamp sets."
    )


def _row(feature: ProtectedFeature) -> FeatureRow:
    cells = (
        str(feature.id),
        clean_line(feature.sae),
        NOTHING if feature.rank is None else str(feature.rank),
        figure(feature.effect),
        percent(feature.active),
        figure(feature.value_base),
        figure(feature.value_defended),
    )
    known = re.fullmatch(re.escape(NEURONPEDIA) + r"[\w./-]+", feature.neuronpedia or "")
    return FeatureRow(cells, known[0] if known else None)
