"""Options and arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from recoverdsl.commands import candidates

F = TypeVar("F", bound=Callable[..., Any])


def _pairs(
    context: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    pairs = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise click.BadParameter(
                f"expected PATH=VALUE, such as projected.steps=50, found {text!r}", context, option
            )
        pairs[path.strip()] = value.strip()
    return pairs


spec = click.argument(
    "spec",
    metavar="SPEC.rec",
    type=click.Path(path_type=Path),
    shell_complete=candidates.specs,
)

overrides = click.option(
    "--set",
    "overrides",
    metavar="PATH=VALUE",
    multiple=True,
    callback=_pairs,
    shell_complete=candidates.overrides,
    help="Replace a value of the spec. Repeatable.",
)

allow_outside = click.option(
    "--allow-outside", is_flag=True, help="Let the spec name paths outside its own folder."
)

offline = click.option("--offline", is_flag=True, help="Never use the network.")

locked = click.option(
    "--locked",
    is_flag=True,
    help="Hold the spec to SPEC.rec.lock, as `recoverdsl lock` wrote it: refuse any other spec, "
    "version, file or commit.",
)

device = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=candidates.devices,
    help="auto, cpu, cuda or cuda:1.",
)

store = click.option(
    "--store",
    type=click.Path(path_type=Path),
    shell_complete=candidates.folders,
    metavar="DIR",
    help="Folder for the results of steps. [default: the cache folder]",
)


def json(help: str) -> Callable[[F], F]:
    """Return the option `--json` with its help."""
    return click.option("--json", "as_json", is_flag=True, help=help)
