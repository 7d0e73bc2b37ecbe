"""A starting spec: the template of its kind, filled in, formatted and checked."""

from __future__ import annotations

from pathlib import Path

from recoverdsl.errors import BugError, UsageError
from recoverdsl.language import Checked, check, format_text
from recoverdsl.language.syntax.printer import quote
from recoverdsl.scaffold.blocks import (
    Model,
    Sae,
    default_model,
    default_sae,
    read_model,
    read_sae,
)

_DEFAULT_SAES = {"scores": {"mid": 14}, "refusal": {"early": 8, "mid": 14, "late": 20}}
"""By kind, the SAEs of the default model: their names and layers, as in the shipped specs."""


def starting_spec(
    file: str,
    *,
    model: str | None = None,
    saes: tuple[str, ...] = (),
    layers: tuple[int, ...] = (),
    kind: str = "scores",
) -> tuple[str, tuple[str, ...]]:
    """Return the text of a valid commented spec, and what to know before running it.

    Args:
        file: the spec's path. Local paths in it are written from its folder.
        model: `huggingface:OWNER/NAME[@REVISION]` or `folder:PATH`; by default the one that the SAE
            was trained on, or a small one.
        saes: `release:RELEASE/ID`, `folder:PATH` or `huggingface:…`, from lower to higher layers.
        layers: the layer that each SAE reads, if that is not known, or as a check.
        kind: one of `recoverdsl.scaffold.kinds.KINDS`.

    Raises:
        UsageError: a model or SAE is not known, or they do not fit together.
        BugError: the result is not a valid spec.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    language, autoencoders, warnings = _blocks(Path(file).parent, model, saes, layers, kind)
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters["text"] = quote
    names = ", ".join(sae.name for sae in autoencoders)
    written = templates.get_template(f"{kind}.rec.jinja").render(
        model=language, saes=autoencoders, names=names if len(autoencoders) == 1 else f"[{names}]"
    )
    checked = check(written, file)
    _assert_valid(checked, file)
    return format_text(written, file), (*warnings, *(d.message for d in checked.diagnostics))


def _blocks(
    beside: Path, model: str | None, saes: tuple[str, ...], layers: tuple[int, ...], kind: str
) -> tuple[Model, list[Sae], tuple[str, ...]]:
    if layers and len(layers) != len(saes):
        raise UsageError(
            f"expected one --layer for each --sae, found {len(layers)} for {len(saes)}",
            where="--layer",
            help="give --layer for every --sae in the same order, or for none",
        )
    if model and not saes:
        raise UsageError(
            "expected an SAE of this model, found none", where="--model", help="add --sae release:RELEASE/ID or --sae folder:PATH"
        )  # fmt: skip
    if not saes:
        found = [default_sae(name, at, beside) for name, at in _DEFAULT_SAES[kind].items()]
        return default_model(), found, tuple(w for sae in found for w in sae.warnings)
    read = [read_sae(s, at, beside) for s, at in zip(saes, layers or [None] * len(saes), strict=True)]  # fmt: skip
    found = [sae for sae, _ in read]
    if len({sae.name for sae in found}) < len(found):
        raise UsageError("two SAEs read the same point", where="--sae", help="keep one of them")
    known = {model.source: model for _, model in read if model}
    if len(known) > 1 and not model:
        raise UsageError(
            "these SAEs were trained on different models", where="--sae",
            why=", ".join(known), help="name SAEs of one model, or name the model with --model",
        )  # fmt: skip
    trained_on = next(iter(known.values()), None)
    language = read_model(model, beside) if model else trained_on
    if language is None:
        raise UsageError(
            "the model that these SAEs read is not known", where="--sae",
            why=next((note for sae in found for note in sae.notes), None),
            help="add --model huggingface:OWNER/NAME or --model folder:PATH",
        )  # fmt: skip
    return language, found, tuple(w for sae in found for w in sae.warnings)


def _assert_valid(checked: Checked, file: str) -> None:
    if checked.errors:
        raise BugError(
            "the generated spec is not valid, so it was not written",
            where=file,
            why=checked.errors[0].message,
            help="this is a bug in recoverdsl: please report it with the command",
        )
