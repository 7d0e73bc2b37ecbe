"""The definitions of a file: its blocks by kind and name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from recoverdsl.language import schema
from recoverdsl.language.checker.scope import SAME_SPACE, Scope, symbol_of
from recoverdsl.language.diagnostics import Collector, Edit, Help
from recoverdsl.language.diagnostics.suggestions import suggest
from recoverdsl.language.schema.fields import keys
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import Attribute, Block, Span, Statement


def define_blocks(statements: Sequence[Statement], scope: Scope) -> None:
    """Define the blocks of a file, and report those of no kind and names that are given twice."""
    audits = [s for s in statements if isinstance(s, nodes.Audit)]
    for audit in audits[1:]:
        scope.report.add(
            "REC207",
            "the audit is named twice",
            audit.span,
            help="remove one of the names",
            related=[(audits[0].span, "first here")],
        )
    taken = {s.name.text: s.name.span for s in statements if isinstance(s, nodes.Param)}
    for statement in statements:
        if isinstance(statement, Attribute):
            _report_stray(statement, scope.report)
        if not isinstance(statement, Block):
            continue
        kind = statement.kind.text
        if kind not in schema.KINDS:
            _unknown_kind(statement, scope)
        elif kind == "measure":
            if statement.name:
                gone = Edit(statement.kind.span.after.to(statement.name.span), "")
                help = Help("remove the name", (gone,))
                scope.report.add("REC214", "`measure` has no name", statement.name.span, help=help)
        elif statement.name is None:
            scope.unnamed.add(kind)
            if statement.whole:
                scope.report.add(
                    "REC214",
                    f"this `{kind}` block needs a name",
                    statement.kind.span,
                    help=f"such as `{kind} my_{kind} {{`",
                )
        else:
            _define(statement, kind, statement.name, taken, scope)


def _report_stray(statement: Attribute, report: Collector) -> None:
    """Report an attribute outside all blocks."""
    key = statement.key.name or ""
    takers = [kind for kind, cls in schema.BLOCKS.items() if key in keys(cls) and key != "stage"]
    help: Help | str = "move it into its block"
    if takers:
        kinds = " or ".join(f"`{kind}`" for kind in takers if kind != "stage")
        help = f"move it into the {kinds} block that it belongs to"
    elif key and isinstance(statement.value, (nodes.Number, nodes.String, nodes.Boolean)):
        put = Edit(statement.span.before, "param ")
        help = Help(f"write `param {key} = …` for a value with a name", (put,))
    report.add("REC213", "an attribute belongs inside a block", statement.key.span, help=help)


def _define(
    block: Block, kind: str, name: nodes.Word, taken: Mapping[str, Span], scope: Scope
) -> None:
    rivals = SAME_SPACE if kind in SAME_SPACE else {kind}
    known = scope.blocks
    earlier = [known[k, name.text].head for k in sorted(rivals) if (k, name.text) in known]
    earlier += [taken[name.text]] if name.text in taken else []
    if earlier:
        scope.report.add(
            "REC207",
            f"`{name.text}` is defined twice",
            name.span,
            help="give one of them another name",
            related=[(earlier[0], "first defined here")],
        )
    scope.define(kind, name.text, block)
    note = scope.index.use if kind == "attribute" else partial(scope.index.define, node=block)
    note(symbol_of(kind, name.text), name)


def _unknown_kind(block: Block, scope: Scope) -> None:
    kind = block.kind.text
    if kind == "stage":
        help = "move it into the `attack` of which it is a part"
        scope.report.add(
            "REC213", "a `stage` belongs inside an `attack`", block.kind.span, help=help
        )
    elif block.whole:
        known = suggest(kind, schema.KINDS, "blocks")
        scope.report.add("REC201", f"there is no block `{kind}`", block.kind.span, help=known)
    scope.unnamed.update(schema.KINDS)
    scope.lost.add(block.name.text if block.name else kind)
