"""`recoverdsl completion`, and the answers to the shells when someone presses Tab."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    split_arg_string,
)

from recoverdsl.commands.command import Command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_RECOVERDSL_COMPLETE"
"""Set by the shells' scripts: click then prints completions and runs no command."""


@click.command(
    cls=Command,
    examples=[
        (
            "recoverdsl completion bash > ~/.local/share/bash-completion/completions/recoverdsl",
            "for bash, with the package bash-completion; without it: >> ~/.bashrc",
        ),
        ("recoverdsl completion zsh > ~/.zfunc/_recoverdsl", "for zsh, where ~/.zfunc is in fpath"),
        ("recoverdsl completion fish > ~/.config/fish/completions/recoverdsl.fish", "for fish"),
    ],
    codes={0: "the script is printed", 2: "there is no script for this shell"},
)
@click.argument("shell", type=click.Choice(SHELLS), metavar="|".join(SHELLS))
def completion(shell: str) -> None:
    """Print a script that completes commands, options, specs and paths in specs."""
    script = Path(__file__).parent / "shells" / f"completion.{shell}"
    sys.stdout.write(script.read_text(encoding="utf-8"))


class Lines(ShellComplete):
    """Writes one line for each completion: its kind, value and description, separated by tabs.

    A kind other than `plain` leaves the rest to the shell: `spec`, `file` and `dir`.
    """

    source_template = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE", "")
        _, *words = split_arg_string(line) or [""]
        # The word at the cursor is empty after a space, unless the space is quoted.
        again = split_arg_string(f"{line}x")
        incomplete = words.pop() if words and len(again) == len(words) + 1 else ""
        return words, incomplete

    def complete(self) -> str:
        words, incomplete = self.get_completion_args()
        begun = incomplete.startswith("--") and "=" in incomplete
        before = incomplete.partition("=")[0] + "=" if begun else ""
        if words and words[-1].startswith("--") and not incomplete.startswith("-"):
            # Click stops at an option without a value, and so would miss the arguments.
            incomplete = f"{words.pop()}={incomplete}"
        items = self.get_completions(words, incomplete)
        return "\n".join(self.format_completion(item, before) for item in items)

    def format_completion(self, item: CompletionItem[str], before: str = "") -> str:
        help = " ".join((item.help or "").split())
        return f"{item.type}\t{before}{item.value}\t{help}"


def register() -> None:
    """Register the completion class of the shells' scripts with click."""
    for shell in SHELLS:
        add_completion_class(Lines, shell)
