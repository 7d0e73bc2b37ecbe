"""`recoverdsl new`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from recoverdsl.commands import candidates
from recoverdsl.commands.command import Command
from recoverdsl.commands.files import create, replace
from recoverdsl.commands.terminal import say, shown
from recoverdsl.errors import UsageError
from recoverdsl.scaffold.kinds import KINDS

STANDARD_OUTPUT = Path("-")


@click.command(
    cls=Command,
    examples=[
        ("recoverdsl new claim.rec", "for a small model that anyone can download"),
        (
            "recoverdsl new claim.rec --sae release:gemma-scope-2b-pt-res-canonical/layer_12/width_16k/canonical",
            "for a pretrained SAE, with its hook point and the model it was trained on filled in",
        ),
        (
            "recoverdsl new claim.rec --kind refusal --model huggingface:google/gemma-2-2b-it "
            "--sae release:gemma-scope-2b-pt-res-canonical/layer_12/width_16k/canonical",
            "for the same SAE on another model, and a behavior judged by generated text",
        ),
        ("recoverdsl new claim.rec --sae folder:saes/mine", "for an SAE of your own, in sae_lens's format"),
    ],
    codes={
        0: "the spec is written, and valid",
        2: "the command is wrong, there is no such SAE, or the file exists already",
        3: "the file cannot be written, or a bug was detected",
    },
)  # fmt: skip
@click.argument(
    "file",
    metavar="FILE.rec|-",
    type=click.Path(path_type=Path),
    shell_complete=candidates.specs,
)
@click.option(
    "--model",
    metavar="SOURCE",
    shell_complete=candidates.models,
    help="huggingface:OWNER/NAME[@REVISION] or folder:PATH. [default: the one the SAE was trained on]",
)
@click.option(
    "--sae",
    "saes",
    metavar="SOURCE",
    multiple=True,
    shell_complete=candidates.saes,
    help="release:RELEASE/ID, as sae_lens names them, folder:PATH or huggingface:OWNER/NAME/FOLDER. "
    "Repeatable, from lower to higher layers.",
)
@click.option(
    "--layer",
    "layers",
    metavar="N",
    type=click.IntRange(min=0),
    multiple=True,
    help="The layer whose output the SAE reads, where that is unknown; once for each --sae.",
)
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="scores",
    show_default=True,
    help="; ".join(f"{kind}: {description}" for kind, description in KINDS.items()) + ".",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def new(
    file: Path,
    model: str | None,
    saes: tuple[str, ...],
    layers: tuple[int, ...],
    kind: str,
    force: bool,
) -> None:
    """Write a commented spec to start from. It is checked before it is written."""
    from recoverdsl.scaffold.spec import starting_spec

    printed = file == STANDARD_OUTPUT
    if not printed and file.suffix != ".rec":
        raise UsageError(
            f"expected a file name ending in .rec, found `{file.name}`",
            where=str(file),
            help=f"write {file}.rec",
        )
    if not printed and file.exists() and not force:
        raise _exists_already(file)
    text, warnings = starting_spec(str(file), model=model, saes=saes, layers=layers, kind=kind)
    if printed:
        sys.stdout.write(text)
    elif file.exists():
        replace(file, text.encode())
    elif not create(file, text.encode()):
        raise _exists_already(file)
    for warning in warnings:
        say(f"{click.style('warning:', fg='yellow', bold=True)} {shown(warning, sys.stderr)}", sys.stderr)  # fmt: skip
    if not printed:
        name = shown(str(file), sys.stdout)
        say(f"{name} is written, and valid. See what a run would compute: recoverdsl plan {name}", sys.stdout)  # fmt: skip


def _exists_already(file: Path) -> UsageError:
    return UsageError("this file exists already", where=str(file), help="add --force to replace it")
