"""The sources that a spec names, and each as a spec would write it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import attrs

from recoverdsl.language.printer import quote
from recoverdsl.language.schema import Classifier, Data, File, Model, Sae, Spec
from recoverdsl.language.vocabulary import function_name

Block: TypeAlias = Model | Sae | Data | Classifier | File | None
"""What has a source. A file is one of phrase lists; None stands for the tool's own."""

OWN = "recoverdsl's own"
"""The source of phrase lists where a spec names none."""


def sources_of(spec: Spec) -> Iterator[tuple[str, Block]]:
    """Every block with a source, by its path: `model.tiny`, `behavior.answers.judge`."""
    yield from ((f"model.{name}", model) for name, model in spec.models.items())
    yield from ((f"sae.{name}", sae) for name, sae in spec.saes.items())
    yield from ((f"data.{name}", data) for name, data in spec.data.items())
    for name, behavior in spec.behaviors.items():
        if behavior.generate:
            yield f"behavior.{name}.phrases", behavior.phrases
        if behavior.judge:
            yield f"behavior.{name}.judge", behavior.judge


def written(block: Block) -> str:
    """The source of a block as the call that a spec writes, in canonical spacing."""
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
