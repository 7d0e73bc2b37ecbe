"""The sources of a spec, and each as a spec writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import attrs

from recoverdsl.language.schema import File, Spec
from recoverdsl.language.schema.vocabulary import function_name
from recoverdsl.language.syntax.printer import quote

if TYPE_CHECKING:
    from recoverdsl.sources.source import Block

OWN = "recoverdsl's own"
"""The source of phrase lists where a spec names none."""


def sources_of(spec: Spec) -> Iterator[tuple[str, Block]]:
    """Yield every block with a source, by its path: `model.tiny`, `behavior.answers.judge`."""
    yield from ((f"model.{name}", model) for name, model in spec.models.items())
    yield from ((f"sae.{name}", sae) for name, sae in spec.saes.items())
    yield from ((f"data.{name}", data) for name, data in spec.data.items())
    for name, behavior in spec.behaviors.items():
        if behavior.generate:
            yield f"behavior.{name}.phrases", behavior.phrases
        if behavior.judge:
            yield f"behavior.{name}.judge", behavior.judge


def sources_at(spec: Spec, points: Iterable[tuple[str, Spec]]) -> Iterator[tuple[str, Block]]:
    """Yield the sources of a spec, and those that only points of its sweeps have: `sweep.saes.2.sae.mid`.

    Args:
        points: the spec at each point of all sweeps, in order, with the name of the sweep.
    """
    seen = set()
    for number, (sweep, here) in enumerate([("", spec), *points]):
        for path, block in sources_of(here):
            if (path, written(block)) not in seen:
                seen.add((path, written(block)))
                yield f"sweep.{sweep}.{number}.{path}" if number else path, block


def written(block: Block) -> str:
    """Return the source of a block as the call that a spec writes, in canonical spacing."""
    if block is None:
        return OWN
    source = block if isinstance(block, File) else block.source
    arguments = []
    for number, a in enumerate(attrs.fields(type(source))):
        value = getattr(source, a.name)
        text = quote(value) if isinstance(value, str) else str(value)
        if number == 0:
            arguments.append(text)
        elif value != a.default:
            arguments.append(f"{a.metadata['key'] or a.name} = {text}")
    return f"{function_name(source)}({', '.join(arguments)})"
