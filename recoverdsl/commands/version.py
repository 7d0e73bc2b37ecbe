"""`--version`: the versions of the tool, Python and the main libraries, found without importing them."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import click

import recoverdsl

LIBRARIES = {"torch": "torch", "transformers": "transformers", "sae_lens": "sae-lens"}
"""The distribution of each module."""


def _print_versions(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        for name, found in _versions():
            click.echo(f"{name} {found}")
        context.exit()


def _versions() -> Iterator[tuple[str, str]]:
    # It takes longer to import than a file takes to check.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    yield "recoverdsl", recoverdsl.__version__
    yield "python", platform.python_version()
    for module, distribution in LIBRARIES.items():
        try:
            yield module, installed(distribution)
        except PackageNotFoundError:
            yield module, "not installed"


version = click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Show the versions of the tool, Python, torch, transformers and sae_lens, and exit.",
)
