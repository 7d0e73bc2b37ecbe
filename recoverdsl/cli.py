"""The command line. Thin: each command calls the Python interface and prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from recoverdsl.errors import RecoverdslError, StoppedError, UnavailableError, UsageError

app = typer.Typer(
    help="Tests whether a safety defense made of SAE features can be trusted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Exit codes: 0 done and every expectation holds; 1 an expectation does not hold; "
    "2 the command or the spec is wrong; 3 something the spec names cannot be had; "
    "4 stopped part way, run again to resume.",
)

Spec = Annotated[Path, typer.Argument(metavar="SPEC.rec", help="The spec.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Replace a value: projected.steps=50. Repeatable."
    ),
]
Outside = Annotated[
    bool, typer.Option("--allow-outside", help="Let the spec name paths outside its own folder.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
StoreRoot = Annotated[Path | None, typer.Option("--store", help="Where results of steps are kept.")]


@app.command()
def run(
    spec: Spec,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result [default: runs/NAME].")
    ] = None,
    set: Set = None,
    device: Device = "auto",
    json: Annotated[
        bool, typer.Option("--json", help="Print result.json instead of the verdict.")
    ] = False,
    store: StoreRoot = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Examples at once [default: from the memory].")
    ] = None,
    reveal: Annotated[
        bool,
        typer.Option(
            "--reveal",
            help="Put prompts and completions into the run folder (texts.jsonl) and the report. "
            "Without it they are in no file there. Careful with data about harmful behavior: "
            "whoever gets the folder can read what the model was brought to say.",
        ),
    ] = False,
    allow_outside: Outside = False,
    offline: Offline = False,
) -> None:
    """Run a spec and say whether the clamp holds. A run that was stopped goes on where it was."""
    from recoverdsl.progress import Progress

    # Libraries draw bars of their own, which would tear this tool's.
    os.environ.setdefault("TQDM_DISABLE", "1")
    folder = out or Path("runs") / spec.stem
    with _resumable():
        audit = _load(spec, set, allow_outside, offline)
        with Progress() as progress:
            done = audit.run(
                folder,
                device=device,
                store=store,
                batch_size=batch_size,
                observer=progress,
                reveal=reveal,
            )
    if json:
        from recoverdsl.measure.results import to_json

        sys.stdout.write(to_json(done.result))
    else:
        from recoverdsl.report.terminal import show

        show(done.result)
        kept = sum(state == "kept" for state in done.states.values())
        if kept == len(done.states):
            typer.echo("Nothing was computed: every step was kept from an earlier run.")
        elif kept:
            typer.echo(f"{kept} of {len(done.states)} steps were kept from an earlier run.")
        typer.echo(f"Report: {folder / 'report.html'}")
    raise typer.Exit(done.exit_code)


@app.command()
def check(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC.rec…", help="The specs.")],
    format: Annotated[
        Literal["text", "json", "sarif"], typer.Option(help="How mistakes are printed.")
    ] = "text",
    set: Set = None,
) -> None:
    """Check specs: every name, type, unit and range. Loads no model and needs no network."""
    from recoverdsl.language import check_file
    from recoverdsl.language.diagnostics import render_json, render_text

    found = [
        diagnostic
        for path in specs
        for diagnostic in check_file(path, overrides=_pairs(set)).diagnostics
    ]
    errors = sum(diagnostic.severity == "error" for diagnostic in found)
    if format == "json":
        typer.echo(render_json(found))
    elif format == "sarif":
        from recoverdsl.language.sarif import render_sarif

        typer.echo(render_sarif(found))
    else:
        for diagnostic in found:
            typer.echo(render_text(diagnostic, color=_color(sys.stdout)) + "\n")
        if not errors:
            typer.echo(f"{len(specs)} {'spec is' if len(specs) == 1 else 'specs are'} valid.")
    raise typer.Exit(2 if errors else 0)


@app.command()
def explain(
    code: Annotated[
        str | None,
        typer.Argument(metavar="[CODE]", help="REC101, rec101 or 101; without it all are listed."),
    ] = None,
) -> None:
    """Explain a mistake: what it means, why the rule exists, and what is right."""
    from recoverdsl.language.explain import page, render_list, render_page

    typer.echo(render_page(page(code)) if code else render_list(), nl=False)


@app.command()
def plan(
    spec: Spec,
    set: Set = None,
    device: Device = "auto",
    store: StoreRoot = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    allow_outside: Outside = False,
) -> None:
    """Say what a run would compute, and what an earlier run has kept."""
    from recoverdsl.compiler.plan import plan_rows, render_plan

    audit = _load(spec, set, allow_outside, True)
    kept = audit.store(store)
    rows = plan_rows(
        audit.graph(device),
        lambda digest: (
            "kept" if kept.entry(digest).done else "begun" if kept.entry(digest).begun else "to run"
        ),
    )
    typer.echo(render_plan(rows, json), nl=False)


@app.command()
def graph(
    spec: Spec,
    format: Annotated[
        Literal["mermaid", "dot", "json"], typer.Option(help="How it is drawn.")
    ] = "mermaid",
    set: Set = None,
    device: Device = "auto",
    allow_outside: Outside = False,
) -> None:
    """Draw the steps of a spec."""
    from recoverdsl.compiler.draw import DRAWINGS

    typer.echo(DRAWINGS[format](_load(spec, set, allow_outside, True).graph(device)), nl=False)


@app.command()
def lsp(
    stdio: Annotated[
        bool, typer.Option("--stdio", hidden=True, help="What it does anyway.")
    ] = True,
) -> None:
    """Start the language server, which an editor talks to over standard input and output."""
    try:
        from recoverdsl.server.server import start
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise UnavailableError(
            "the language server is not installed: pip install 'recoverdsl[lsp]'"
        ) from error
    start()


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError(
            "stopped before the end", help="run the same command again: it goes on where it was"
        ) from None


def _load(spec: Path, set: list[str] | None, allow_outside: bool, offline: bool) -> Any:
    from recoverdsl.api import load

    return load(spec, set=_pairs(set), allow_outside=allow_outside, offline=offline)


def _pairs(set: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in set or []:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise UsageError(
                f"--set {text!r} is not PATH=VALUE", help="write --set projected.steps=50"
            )
        pairs[path.strip()] = value.strip()
    return pairs


def _color(stream: Any) -> bool:
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def main() -> NoReturn:
    """Entry point: turns every error that a person can mend into a message and an exit code."""
    try:
        app(standalone_mode=True)
    except RecoverdslError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    # Exit code 1 is a verdict, so a crash may not end with it.
    except Exception as error:
        typer.echo(
            f"error: this is a bug in recoverdsl ({type(error).__name__})\n"
            f"  where: {_traceback_file()}\n"
            "  help:  please report it with that file, which may quote the spec and its data",
            err=True,
        )
        sys.exit(UnavailableError.exit_code)
    sys.exit(0)


def _traceback_file() -> str:
    """Writes the traceback of the error at hand to a private file and gives its path."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="recoverdsl-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(traceback.format_exc())
    return file.name


def _complain(error: RecoverdslError) -> None:
    diagnostics = getattr(error, "diagnostics", ())
    if diagnostics:
        from recoverdsl.language.diagnostics import render_text

        for diagnostic in diagnostics:
            typer.echo(render_text(diagnostic, color=_color(sys.stderr)) + "\n", err=True)
    else:
        from recoverdsl.report.words import clean

        # An error may quote a file, a name or another library: none of them may drive a terminal.
        typer.echo(clean(f"error: {error}"), err=True)


if __name__ == "__main__":
    main()
