"""The verdict in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recoverdsl.language.schema.strongest import STRONGEST
from recoverdsl.measure.results import Result
from recoverdsl.measure.sweeps import SweepResult, axes_of
from recoverdsl.report import parts as delta_parts
from recoverdsl.report.cells import Row, caption, costs, generates, headings, table
from recoverdsl.report.clamps import flips_of_all
from recoverdsl.report.evidence import cautions
from recoverdsl.report.protected_features import feature_tables
from recoverdsl.report.sentences import (
    control_sentence,
    expected,
    funnel,
    headline,
    targets,
    undecided,
)
from recoverdsl.report.side_effects import side_effects
from recoverdsl.report.specificity import specificity
from recoverdsl.report.strength import strength
from recoverdsl.report.sweep_page import (
    sweep_expectations,
    sweep_findings,
    sweep_headings,
    sweep_headline,
    sweep_rows,
)
from recoverdsl.report.words import clean_line, figure

_STYLES = {
    "holds": "green",
    "does_not_hold": "red",
    "inconclusive": "yellow",
    "not_judged": "yellow",
}
_COLORS = {"good": "green", "bad": "red", "unsure": "yellow"}

_COLUMNS = {
    "limit": ("norm ≤", ""),
    "recovered": ("recovered", ""),
    "zero_reactivation": ("zero\nreact.", "recovered and no protected feature newly above zero"),
    "drift": ("drift", ""),
    "reactivated": ("reacti-\nvated", "protected features newly above zero"),
    "norm": ("norm", ""),
    "smallest_norm": ("smallest\nnorm", "the least that recovers"),
}
_TEXT_COLUMNS = {
    "limit": ("norm ≤", ""),
    "recovered": ("recovered", ""),
    "base_like": ("base-like", "recovered and like the target answer"),
    "drift": ("drift", "of the clamped features on the target"),
    "generated_drift": ("drift\n(generated)", "the same on the generated text"),
    "smallest_norm": ("smallest\nnorm", "the least that reaches every token of the target"),
}
"""The heading of each field of `Row`, with its meaning. The report has those that exceed 80 columns."""

# For terminals that know only ASCII.
_ASCII = str.maketrans(
    {
        "✓": "+",
        "✗": "x",
        "≈": "~",
        "≥": ">=",
        "–": "-",
        "≤": "<=",
        "δ": "d",
        "‖": "|",
        "−": "-",
        "…": "...",
        "�": "?",
        "×": "x",
    }
)


def _writer(console: Console) -> Callable[..., Text]:
    """Return a maker of text that a console can show, transliterated if it knows only ASCII."""
    ascii_only = console.options.ascii_only

    def text(plain: str, style: str = "") -> Text:
        if ascii_only:
            plain = plain.translate(_ASCII).encode("ascii", "replace").decode()
        return Text(plain, style)

    return text


def show(
    result: Result,
    console: Console | None = None,
    seconds: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Print the verdict, the table and the expectations.

    Readable in 80 columns, without color (`NO_COLOR`, a pipe) and in ASCII: color alone never
    carries meaning, and names are never interpreted as markup.

    Args:
        seconds: the mean seconds per example of each attack and control, by kind and name. They
            depend on the machine, and so are no part of a result or its page.
    """
    console = console or Console(highlight=False)
    text = _writer(console)
    said, tried = headline(result), strength(result)
    verdict = Text.assemble(
        text(said.verdict, f"bold {_STYLES[result.verdict]}"), text(f": {said.because}.")
    )
    title = clean_line(result.spec.audit or result.spec.name)
    parts: list[RenderableType] = [
        text(title, "bold"),
        verdict,
        *(text(why, "yellow") for why in undecided(result)),
        *(text(caution, "yellow") for caution in cautions(result)),
        text(f"How hard did we try? {tried.summary}"),
        *(Padding(text(finding, "yellow"), (0, 0, 0, 2)) for finding in tried.findings),
        *(text(sentence) for sentence in (*specificity(result), *targets(result))),
        text(funnel(result), "dim"),
        *(text(one.summary, "dim") for one in feature_tables(result)),
        *(text(sentence, "dim") for sentence in side_effects(result)),
        Text(),
    ]

    # Whole percentages: with decimals a row does not fit into 80 columns.
    rows = table(result, decimals=0)
    # Numbers are not wrapped where there is room for them; a name can always be folded.
    wide = console.width >= 72
    if rows:
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        grid.add_column(text("attack or control"), overflow="fold")
        known = _TEXT_COLUMNS if generates(result) else _COLUMNS
        columns = {key: column for key, column in known.items() if key in headings(result)}
        for heading, _ in columns.values():
            grid.add_column(text(heading), justify="right", overflow="fold", no_wrap=wide)
        for row in rows:
            if row.first:
                grid.add_section()
            grid.add_row(*(text(cell) for cell in _cells(row, columns, flips_of_all(result))))
        meanings = [
            f"{heading}: {doc}.".replace("-\n", "").replace("\n", " ")
            for heading, doc in columns.values()
            if doc
        ]
        parts += [grid, text(" ".join([caption(result), *meanings]), "dim"), Text()]
    if generates(result):
        for name, control in result.controls.items():
            sentence = control_sentence(control, result.attacks.get(control.of))
            parts.append(text(f"The control {clean_line(name)} {sentence}"))
        parts += [Text()] if result.controls else []
    for name in result.attributions:
        parts += [*_parts_of(result, name, text), Text()]
    if seconds and (spent := costs(result)):
        listed = (
            f"{c.name} {c.forward_passes} forward passes, {c.gradient_steps} gradients, "
            f"{figure(seconds.get(c.kind, {}).get(c.name))} s"
            for c in spent
            # `strongest` searches nothing itself.
            if c.name != STRONGEST
        )
        parts += [text(f"Mean cost per example: {'; '.join(listed)}.", "dim"), Text()]
    if result.environment.get("revealed"):
        parts.append(
            text("This run reveals texts: its folder holds prompts and completions.", "bold")
        )
    console.print(Group(*parts))

    for judged in result.expectations:
        e = expected(judged)
        line = Text.assemble(
            text(f"{e.mark} {e.word}", _COLORS[e.color]), text(f"  {e.claim}  (found {e.found})")
        )
        console.print(Padding(line, (0, 0, 0, 2)))
        # Of an inconclusive result they are above, with the verdict.
        if e.why and result.verdict != "inconclusive":
            console.print(Padding(text(e.why), (0, 0, 0, 4)))


def show_sweep(swept: SweepResult, console: Console | None = None) -> None:
    """Print a sweep: the number of points that hold, and a table for each sweep of the spec."""
    console = console or Console(highlight=False)
    text = _writer(console)
    console.print(text(clean_line(swept.spec.audit or swept.spec.name), "bold"))
    verdicts = {point.result.verdict for point in swept.points}
    style = next((_STYLES[v] for v in _STYLES if v != "holds" and v in verdicts), "green")
    console.print(text(sweep_headline(swept), f"bold {style}"))
    for finding in sweep_findings(swept):
        console.print(text(finding, "yellow"))
    for claim in sweep_expectations(swept):
        console.print(Padding(text(f"{claim.text}: {claim}"), (0, 0, 0, 2)))
    for name, points in swept.sweeps.items():
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for heading in (*axes_of(points), "flips", "attack or control", *sweep_headings(points)):
            grid.add_column(text(clean_line(heading)), overflow="fold")
        for row in sweep_rows(points, decimals=0):
            if row.first:
                grid.add_section()
            point = [*row.values, row.flips] if row.first else [""] * (len(row.values) + 1)
            grid.add_row(*(text(clean_line(cell)) for cell in (*point, row.name, *row.figures)))
        console.print(text(f"Sweep {clean_line(name)}"), grid)


def _cells(row: Row, columns: Iterable[str], valid_flips: int | None) -> list[str]:
    name = f"{row.name}{row.under}" if row.first else ""
    if row.n not in (0, valid_flips):
        name += f" (n={row.n})"
    shown = {field: getattr(row, field) for field in columns}
    if row.interval:
        shown["recovered"] += f" [{row.interval.removesuffix('%')}]"
    return [name.strip(), *shown.values()]


def _parts_of(
    result: Result, name: str, text: Callable[[str, str], Text]
) -> Iterator[RenderableType]:
    """Yield a table of the parts of a δ, without intervals, which would not fit, and a note on it."""
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column(text(f"part of {clean_line(name)}", ""), overflow="fold")
    for heading in delta_parts.headings(result)[1:]:
        grid.add_column(
            text(heading.replace(", without", " without"), ""), justify="right", overflow="fold"
        )
    for cells in delta_parts.rows(result, name):
        grid.add_row(*(text(cell.partition(" [")[0], "") for cell in cells))
    yield grid
    notes = "without: δ without the part. norm: the mean, in multiples of δ's."
    yield text(notes, "dim")
