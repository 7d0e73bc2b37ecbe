"""The options of a run, and the records that a run and a sweep return."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from recoverdsl.engine.steps.observer import Observer, State
from recoverdsl.report.revealed import Revealed

if TYPE_CHECKING:
    import pandas as pd

    from recoverdsl.measure.results import Result
    from recoverdsl.measure.sweeps import SweepResult


@frozen
class RunOptions:
    """How a spec is run; see `recoverdsl.api.Audit.run`."""

    device: str
    store: Path | None
    batch_size: int | None
    observer: Observer
    reveal: bool


@frozen
class Run:
    """The result of a run, with its table of examples."""

    result: Result
    examples: pd.DataFrame
    """One row per valid flip, attack and limit; the columns of `recoverdsl.measure.table`."""
    text: str = field(repr=False)
    """The spec as run."""
    states: Mapping[str, State] = field(repr=False)
    """Step to whether it was computed, resumed, or kept from an earlier run."""
    folder: Path | None = None
    texts: tuple[Revealed, ...] = field(default=(), repr=False)
    """Prompts and completions, if the run reveals them."""
    seconds: Mapping[str, Mapping[str, float]] = field(factory=dict, repr=False)
    """Seconds that an attack or control took for an example on this machine, at its largest limit: by
    kind, `attack` or `control`, and name."""
    date: str = ""
    """The day, in UTC, on which it ended: `2026-02-28`."""

    @property
    def exit_code(self) -> int:
        """0 if the verdict is `holds` or `not_judged`, otherwise 1."""
        return 0 if self.result.verdict in ("holds", "not_judged") else 1

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per attack or control, limit and metric: value, low, high, n."""
        import pandas as pd

        from recoverdsl.measure.results import metric_rows

        return pd.DataFrame(list(metric_rows(self.result)))

    def html(self) -> str:
        """Return the report as a self-contained HTML page."""
        from recoverdsl.report.html import render_html

        return render_html(
            self.result, self.examples, spec=self.text, texts=self.texts, date=self.date
        )

    def _repr_html_(self) -> str:
        """Return the verdict and its table as HTML, which a notebook shows."""
        from recoverdsl.report.html import render_fragment

        return render_fragment(self.result)


@frozen
class SweepRun:
    """The results of a run of a spec with sweeps."""

    swept: SweepResult
    runs: tuple[Run, ...] = field(repr=False)
    """One for each point, in the order of `swept.points`."""
    text: str = field(repr=False)
    """The spec as run."""
    folder: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 if the verdict at every point is `holds` or `not_judged`, otherwise 1."""
        return max((run.exit_code for run in self.runs), default=0)

    @property
    def table(self) -> pd.DataFrame:
        """One row per point, attack or control, limit and metric; see `measure.sweeps.to_frame`."""
        from recoverdsl.measure.sweeps import to_frame

        return to_frame(self.swept)

    def html(self) -> str:
        """Return the page of the sweep as self-contained HTML."""
        from recoverdsl.report.sweep_page import render_sweep

        return render_sweep(self.swept, spec=self.text)

    def _repr_html_(self) -> str:
        """Return the page of the sweep, which a notebook shows."""
        return self.html()
