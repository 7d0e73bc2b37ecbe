"""The verdict in a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recoverdsl.measure.results import Result
from recoverdsl.report.cells import Row, caption, table
from recoverdsl.report.sentences import expectation, funnel, headline
from recoverdsl.report.words import clean_line

_STYLES = {"holds": "green", "does not hold": "red", "undefined": "yellow", "not judged": "yellow"}
_MARK_STYLES = {"✓": "green", "✗": "red", "?": "yellow"}

# For terminals that know only ASCII.
_ASCII = str.maketrans(
    {"✓": "+", "✗": "x", "–": "-", "≤": "<=", "δ": "d", "‖": "|", "−": "-", "…": "...", "�": "?"}
)


def show(result: Result, console: Console | None = None) -> None:
    """Print the verdict, the table and the expectations.

    Readable in 80 columns, without colour (`NO_COLOR`, a pipe) and in ASCII: no meaning is in
    colour alone, and names are never read as markup.
    """
    console = console or Console(highlight=False)
    ascii_only = console.options.ascii_only

    def text(plain: str, style: str = "") -> Text:
        if ascii_only:
            plain = plain.translate(_ASCII).encode("ascii", "replace").decode()
        return Text(plain, style)

    said = headline(result)
    verdict = Text.assemble(
        text(said.verdict, f"bold {_STYLES[result.verdict]}"), text(f": {said.because}.")
    )
    title = clean_line(result.spec.audit or result.spec.name)
    parts: list[RenderableType] = [
        text(title, "bold"),
        verdict,
        text(funnel(result), "dim"),
        Text(),
    ]

    # Whole percentages: with decimals a row does not fit into 80 columns.
    rows = table(result, decimals=0)
    # Numbers stay whole where there is room for them; a name can always be folded.
    wide = console.width >= 72
    if rows:
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        grid.add_column(text("attack or control"), overflow="fold")
        headings = ("norm ≤", "recovered", "quietly", "drift", "react.", "norm", "least")
        for heading in headings:
            grid.add_column(text(heading), justify="right", overflow="fold", no_wrap=wide)
        for row in rows:
            if row.first:
                grid.add_section()
            grid.add_row(*(text(cell) for cell in _cells(row, result.counts.valid_flips)))
        notes = (
            f"{caption(result)} quietly: recovered and no protected feature newly above zero. "
            "react.: protected features newly above zero. least: smallest norm that recovers."
        )
        parts += [grid, text(notes, "dim"), Text()]
    console.print(Group(*parts))

    for judged in result.expectations:
        mark, word, claim, value = expectation(judged)
        line = Text.assemble(
            text(f"{mark} {word}", _MARK_STYLES[mark]), text(f"  {claim}  (found {value})")
        )
        console.print(Padding(line, (0, 0, 0, 2)))


def _cells(row: Row, valid_flips: int) -> tuple[str, ...]:
    name = row.name if row.first else ""
    if row.n not in (0, valid_flips):
        name += f" (n={row.n})"
    recovered = row.recovered
    if row.interval:
        recovered += f" [{row.interval.removesuffix('%')}]"
    return (
        name.strip(),
        row.limit,
        recovered,
        row.quiet,
        row.drift,
        row.reactivated,
        row.norm,
        row.smallest_norm,
    )
