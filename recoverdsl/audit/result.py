"""From what the steps of a run came to, to its result, its table and the files of its folder."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recoverdsl.compiler.compile import exactly
from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import Measure, Recover, columns_behind
from recoverdsl.language.schema import Control, Spec
from recoverdsl.language.schema.budgets import limits_of
from recoverdsl.language.schema.canonical import digest
from recoverdsl.language.schema.vocabulary import function_name
from recoverdsl.report.revealed import to_lines
from recoverdsl.sources.pins import pin
from recoverdsl.store.run_folder import RunFolder
from recoverdsl.store.steps import Row

if TYPE_CHECKING:
    import pandas as pd

    from recoverdsl.api import Audit, Run
    from recoverdsl.engine.steps.runner import Output
    from recoverdsl.measure.results import Result


def assemble(
    audit: Audit,
    graph: Graph,
    output: Output,
    ids: Mapping[str, str],
    environment: dict[str, Any],
) -> tuple[Result, pd.DataFrame]:
    """The result of a run, and its table of examples.

    Args:
        ids: id of each example to the one that artifacts hold.
        environment: what is told of the machine and the run.
    """
    from recoverdsl.measure import results
    from recoverdsl.measure.summary import Planned, judge, summarize
    from recoverdsl.measure.table import to_frame

    spec = audit.spec
    base = output.results[graph.keys_of("RunBase")[0]].rows
    defended = [row for key in graph.keys_of("RunDefended") for row in output.results[key].rows]
    frame = to_frame(
        {
            **row, "example": ids[row["example"]], "kind": kind, "name": name, "limit": limit,
            "score_base": base[index]["score"], "score_defended": defended[index]["score"],
        }
        for kind, name, limit, key in tables(graph)
        for index, example in zip(output.valid_flips, output.results[key].rows, strict=True)
        for row in (example["parts"] if kind == "part" else [example])
    )  # fmt: skip
    preserve = {
        name: function_name(attack.preserve) if attack.preserve else None
        for name, attack in spec.attacks.items()
    }
    summary = summarize(
        frame,
        spec.measures,
        attacks={
            name: Planned(limits_of(spec, attack), preserve[name])
            for name, attack in spec.attacks.items()
        },
        controls={
            name: Planned(
                limits_of(spec, spec.attacks[control.of]), preserve[control.of], control.of,
                _method(control),
            )
            for name, control in spec.controls.items()
        },
    )  # fmt: skip
    result = results.Result(
        spec=results.SpecIdentity(audit.path.name, digest(spec), spec.audit),
        counts=results.Counts(
            examples=len(base),
            base_holds=sum(row["holds"] for row in base),
            valid_flips=len(output.valid_flips),
            failed=summary.failed + len(failed(base, defended)),
        ),
        attacks=summary.attacks,
        controls=summary.controls,
        attributions=summary.attributions,
        expectations=judge(spec.expects, summary.attacks, summary.controls),
        inputs=tuple(
            results.Input(name, kind, pin(block, audit.fetcher))
            for kind, blocks in (
                ("model", spec.models),
                ("sae", spec.saes),
                ("data", spec.data),
            )
            for name, block in blocks.items()
        ),
        intervals=summary.intervals,
        environment=environment | _of_steps(spec, graph, output, ids),
    )
    return result, frame


def _of_steps(spec: Spec, graph: Graph, output: Output, ids: Mapping[str, str]) -> dict[str, Any]:
    """What the environment's record says of the steps."""
    base = output.results[graph.keys_of("RunBase")[0]].rows
    defended = [r for key in graph.keys_of("RunDefended") for r in output.results[key].rows]
    clamped = next((spec.protects[i.protect].saes for i in spec.intervenes.values()), ())
    return {
        "failed": {ids[example]: why for example, why in failed(base, defended).items()},
        "features": {
            key: {
                sae: {
                    "ids": [row["feature"] for row in rows if row["sae"] == number],
                    "effects": [round(r["effect"], 6) for r in rows if r["sae"] == number],
                    "encoder": next((r["encoder"] for r in rows if r["sae"] == number), None),
                    "left_out": max((r.get("left_out", 0) for r in rows), default=0),
                }
                for number, sae in enumerate(clamped)
            }
            for key in graph.keys_of("SelectFeatures")
            for rows in [output.results[key].rows]
        },
        "steps": {node.key: node.digest for node in graph},
    }


def failed(base: list[Row], defended: list[Row]) -> dict[str, str]:
    """Examples that could not be run at all, with the reason."""
    return {row["example"]: row["failed"] for row in [*base, *defended] if row["failed"]}


def tables(graph: Graph) -> list[tuple[str, str, float | None, str]]:
    """Kind, name, limit and key of each step that makes rows of the example table."""
    found = []
    for role, key in (item for measure in graph.of(Measure) for item in measure.inputs.items()):
        if " " in role:
            kind, name, limit = role.split(" ")
            found.append((kind, name, None if limit == "none" else float(limit), key))
    return found


def seconds_per_example(graph: Graph, output: Output) -> dict[str, dict[str, float]]:
    """What the search of each attack and control took, its texts written, at its largest limit."""
    took: dict[str, dict[str, float]] = {"attack": {}, "control": {}}
    for kind, name, _, key in tables(graph):
        if kind in took and output.valid_flips:
            seconds = output.results[key].seconds / len(output.valid_flips)
            took[kind][name] = float(f"{seconds:.3g}")
    return took


def write(
    run: Run, graph: Graph, output: Output, folder: RunFolder, shown: Mapping[str, str]
) -> None:
    """Writes everything but the spec and the events into the run folder."""
    from recoverdsl.measure import table
    from recoverdsl.measure.results import to_json

    buffer = io.BytesIO()
    table.write(run.examples, buffer)
    folder.examples(buffer.getvalue())
    deltas, ids, places = {}, {}, {}
    for kind, name, limit, key in tables(graph):
        result = output.results[key]
        if not result.rows or limit is None:
            continue
        label = f"{name}/smallest" if kind.startswith("smallest") else f"{name}/{exactly(limit)}"
        tensors = {
            label if tensor == "delta" else f"{label}/{tensor.removeprefix('part ')}": value
            for tensor, value in result.tensors.items()
            if tensor == "delta" or tensor.startswith("part ")
        }
        for label, delta in tensors.items():
            deltas[label] = delta
            ids[label] = [shown[row["example"]] for row in result.rows]
            places[label] = {
                "boundaries": result.tensors["sites"][0].tolist(),
                "columns_behind_prompt": columns_behind(_recovery_of(graph[key].step)),
            }
    folder.perturbations(deltas, ids, places)
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


def _recovery_of(step: object) -> Recover:
    """The attack that a step makes or starts from."""
    found = getattr(step, "recover", step)
    assert isinstance(found, Recover)
    return found


def _method(control: Control) -> str:
    if control.method:
        return control.method
    return "another_example" if control.on == "defended" else "another_example_undefended"
