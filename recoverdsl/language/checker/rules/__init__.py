"""The rules between the values of a spec, beyond the type of each."""

from __future__ import annotations

from collections.abc import Collection

from recoverdsl.language.checker.rules.attacks import check_attack
from recoverdsl.language.checker.rules.behaviors import check_behavior, check_uses
from recoverdsl.language.checker.rules.controls import check_control, check_delta
from recoverdsl.language.checker.rules.data import check_data
from recoverdsl.language.checker.rules.expectations import check_expectation, check_metric
from recoverdsl.language.checker.rules.features import check_intervene, check_protect
from recoverdsl.language.checker.rules.meaning import Meaning
from recoverdsl.language.checker.rules.ranking import check_ranking
from recoverdsl.language.checker.rules.sources import check_model, check_source
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.schema import Spec

__all__ = ["check_meaning"]


def check_meaning(
    spec: Spec, report: Collector, partial: Collection[str] = (), unread: Collection[str] = ()
) -> None:
    """Report every rule that is broken. Blocks that could not be read are not in the spec.

    Args:
        spec: what could be read.
        report: where to report.
        partial: paths of the blocks that are in the spec without all of what they say.
        unread: kinds of which a block is not in the spec.
    """
    meaning = Meaning(spec, report, frozenset(partial), frozenset(unread))
    for name, model in spec.models.items():
        check_model(meaning, f"model.{name}", model)
    for name, sae in spec.saes.items():
        check_source(meaning, f"sae.{name}", sae.source, sae.sha256)
    for name, data in spec.data.items():
        check_source(meaning, f"data.{name}", data.source, None)
        check_data(meaning, name, data)
    for name, behavior in spec.behaviors.items():
        check_behavior(meaning, f"behavior.{name}", behavior)
    for name, protect in spec.protects.items():
        check_protect(meaning, f"protect.{name}", protect)
        check_ranking(meaning, name)
    for name, intervene in spec.intervenes.items():
        check_intervene(meaning, f"intervene.{name}", intervene)
    for name, attack in spec.attacks.items():
        check_attack(meaning, f"attack.{name}", attack)
    for name, control in spec.controls.items():
        check_control(meaning, f"control.{name}", control)
    for name in spec.attributes:
        check_delta(meaning, f"attribute.{name}", name, "split into parts")
    for name in spec.measures:
        check_metric(meaning, f"measure.{name}", name)
    for i, expectation in enumerate(spec.expects):
        check_expectation(meaning, f"expect.{i}", expectation)
    if not (report.errors or partial or unread):
        check_uses(meaning)
