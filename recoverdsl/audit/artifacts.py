"""The files that a run writes into its folder."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

from recoverdsl.audit.claim import Claim
from recoverdsl.audit.records import Run
from recoverdsl.compiler.steps import columns_after_prompt, recover_of
from recoverdsl.engine.steps.output import Output
from recoverdsl.measure.keys import TableKey, limit_text
from recoverdsl.measure.results import to_json
from recoverdsl.measure.table import write as write_table
from recoverdsl.pinning.lockfile import to_text
from recoverdsl.report.revealed import to_lines
from recoverdsl.store.run_folder import Perturbations, RunFolder


def begin(claim: Claim, folder: RunFolder) -> None:
    """Remove an earlier run's files from a folder, and write the spec and the lock that it is held
    to."""
    folder.clear()
    folder.spec(claim.text)
    if claim.lock is not None:
        folder.lock(to_text(claim.lock))


def seconds_per_example(output: Output) -> dict[str, dict[str, float]]:
    """Return how many seconds each attack and control took for an example at its largest limit.

    The texts that are generated with its δ count too. By kind, `attack` or `control`, and name; to
    three digits.
    """
    taken: dict[str, dict[str, float]] = {"attack": {}, "control": {}}
    for table, key in output.graph.tables.items():
        flips = output.flips(key)
        if table.kind in taken and flips:
            seconds = output.results[key].seconds / len(flips)
            taken[table.kind][table.name] = float(f"{seconds:.3g}")
    return taken


def write(run: Run, output: Output, folder: RunFolder, ids: Mapping[str, str]) -> None:
    """Write everything but the spec and the earlier events into the run folder.

    Args:
        ids: id of each example to the one that artifacts hold; see `audit.texts.shown_ids`.
    """
    buffer = io.BytesIO()
    write_table(run.examples, buffer)
    folder.examples(buffer.getvalue())
    folder.perturbations(list(_perturbations(output, ids)))
    folder.environment(
        run.result.environment
        | {"inputs": {i.name: i.digest for i in run.result.inputs}}
        | {"date": run.date}
        | {"seconds": _seconds(output)}
        | {"seconds_per_example": run.seconds}
    )
    if run.texts:
        folder.texts(to_lines(run.texts))
    folder.report(run.html())
    folder.result(to_json(run.result))
    folder.event(event="done", verdict=run.result.verdict)


def _seconds(output: Output) -> dict[str, float]:
    """Return how many seconds each stored step took when it was computed."""
    return {
        key: round(result.seconds, 1)
        for key, result in output.results.items()
        if output.graph[key].stored
    }


def _perturbations(output: Output, ids: Mapping[str, str]) -> Iterator[Perturbations]:
    """Yield the δ of a run, by attack or control and limit, and their parts."""
    for table, key in output.graph.tables.items():
        record = output.table(key)
        if record is None:
            continue
        for part, delta_BLPD in record.deltas():
            _, replay = next(record.replays())
            yield Perturbations(
                name="/".join(filter(None, (_name(table), part))),
                delta_BLPD=delta_BLPD,
                examples=[ids[row.example] for row in replay.rows],
                boundaries=record.boundaries(),
                columns_after_prompt=columns_after_prompt(recover_of(output.graph[key].step)),
            )


def _name(table: TableKey) -> str:
    """Return the name of a table's δ; see `Perturbations.name`."""
    if table.kind in ("smallest_norm", "smallest_norm_control"):
        return f"{table.name}/smallest"
    free = "unconstrained" if table.kind == "unconstrained_control" else None
    limit = None if table.limit is None else limit_text(table.limit)
    return "/".join(filter(None, (table.name, free, limit)))
