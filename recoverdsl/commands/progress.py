"""The progress of a run: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars

from recoverdsl.compiler.graph import Node
from recoverdsl.engine.steps.observer import State

_STATES: dict[State, str] = {"kept": "kept", "resumed": "resumed", "computed": "done"}


class Progress(AbstractContextManager["Progress"]):
    """An observer that shows the progress of runs, and turns SIGTERM into a keyboard interrupt."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            SpinnerColumn(finished_text=" "), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
            MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True,
            disable=not console.is_interactive,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._before: Callable[[int, FrameType | None], object] | int | None = signal.SIG_DFL

    def __enter__(self) -> Progress:
        self._before = signal.signal(signal.SIGTERM, _interrupt)
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()
        signal.signal(signal.SIGTERM, self._before)

    @contextmanager
    def busy(self, activity: str) -> Iterator[None]:
        if not self._console.is_terminal:
            self._line(f"{activity} …")
        task = self._bars.add_task(activity, total=None)
        try:
            yield
        finally:
            self._bars.remove_task(task)

    def point(self, label: str) -> None:
        """Show that a point of a sweep begins."""
        self._line(label)

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        task = self._task = self._bars.add_task(node.key, total=examples)
        return lambda done: self._bars.update(task, completed=done)

    def ended(self, node: Node, state: State, seconds: float, batch_size: int | None) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        took = "" if state == "kept" else f"  {seconds:.1f} s"
        self._line(f"{_STATES[state]:>7}  {node.key}{took}")

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
