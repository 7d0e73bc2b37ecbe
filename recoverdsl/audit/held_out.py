"""Whether the prompts that an audit tests are held out from the ranking of its features."""

from __future__ import annotations

from recoverdsl.engine.resources import Resources
from recoverdsl.language.schema.parts import ranked_over


def seen_prompts(resources: Resources) -> dict[str, dict[str, int]]:
    """Return for each data block that ranks features how many of the tested prompts are also among its
    prompts, by their text: `seen`, of `tested`.

    The spec alone does not tell: templates with other seeds, or two files, may hold the same prompt.
    """
    clamped = {intervene.protect for intervene in resources.spec.intervenes.values()}
    counts = {}
    for name in sorted(
        {data for protect in clamped for data in ranked_over(resources.spec, protect)}
    ):
        ranking = {example.prompt for example in resources.examples_of(name)}
        tested = [example.prompt for example in resources.examples]
        counts[name] = {"seen": sum(prompt in ranking for prompt in tested), "tested": len(tested)}
    return counts
