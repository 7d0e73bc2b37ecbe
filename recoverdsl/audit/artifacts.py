"""The files that a run leaves in its folder."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

from recoverdsl.audit.records import Run
from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import columns_after_prompt, recover_of
from recoverdsl.engine.steps.delta_split import DeltaParts
from recoverdsl.engine.steps.evaluation import Recoveries
from recoverdsl.engine.steps.runner import Output
from recoverdsl.measure.keys import exactly
from recoverdsl.measure.results import to_json
from recoverdsl.measure.table import write as write_table
from recoverdsl.report.revealed import to_lines
from recoverdsl.store.run_folder import Perturbations, RunFolder


def seconds_per_example(graph: Graph, output: Output) -> dict[str, dict[str, float]]:
    """Return what the search of each attack and control took, texts included, at its largest limit."""
    took: dict[str, dict[str, float]] = {"attack": {}, "control": {}}
    for table, key in graph.tables.items():
        if table.kind in took and output.valid_flips:
            seconds = output.results[key].seconds / len(output.valid_flips)
            took[table.kind][table.name] = float(f"{seconds:.3g}")
    return took


def write(
    run: Run, graph: Graph, output: Output, folder: RunFolder, shown: Mapping[str, str]
) -> None:
    """Write everything but the spec and the events into the run folder."""
    buffer = io.BytesIO()
    write_table(run.examples, buffer)
    folder.examples(buffer.getvalue())
    folder.perturbations(list(_perturbations(graph, output, shown)))
    folder.environment(
        run.result.environment
        | {"inputs": {i.name: i.digest for i in run.result.inputs}}
        | {"seconds": {key: round(result.seconds, 1) for key, result in output.results.items()}}
        | {"seconds_per_example": run.seconds}
    )
    if run.texts:
        folder.texts(to_lines(run.texts))
    folder.report(run.html())
    folder.result(to_json(run.result))
    folder.event(event="done", verdict=run.result.verdict)


def _perturbations(
    graph: Graph, output: Output, shown: Mapping[str, str]
) -> Iterator[Perturbations]:
    """Yield the δ that a run leaves, by attack or control and limit, and their parts."""
    for table, key in graph.tables.items():
        record = output.results[key].record
        label = f"{table.name}/smallest" if table.kind.startswith("smallest") else str(table.name)
        if not table.kind.startswith("smallest") and table.limit is not None:
            label = f"{table.name}/{exactly(table.limit)}"
        if isinstance(record, Recoveries):
            deltas, rows = {label: record.delta_BLPD}, record.rows
        elif isinstance(record, DeltaParts):
            deltas = {f"{label}/{name}": part.delta_BLPD for name, part in record.parts.items()}
            rows = next(iter(record.parts.values())).alone.rows
        else:
            continue
        for name, delta_BLPD in deltas.items():
            yield Perturbations(
                name=name,
                delta_BLPD=delta_BLPD,
                examples=[shown[row.example] for row in rows],
                boundaries=record.sites_BL[0].tolist(),
                columns_after_prompt=columns_after_prompt(recover_of(graph[key].step)),
            )
