"""Values of the wrong type that say plainly what is meant: `True`, `"100"`, `20` for `norm <= 20`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import attrs

from recoverdsl.language import schema
from recoverdsl.language.checker.arithmetic import Quantity, is_arithmetic
from recoverdsl.language.checker.scope import Scope
from recoverdsl.language.diagnostics import Edit, Help, replace
from recoverdsl.language.diagnostics.suggestions import did_you_mean, help_with_word
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import (
    Binary,
    Call,
    Expression,
    List,
    Number,
    Path,
    String,
    Unary,
)
from recoverdsl.language.syntax.printer import print_expression, quote

_TRUTHS = {"true": "true", "yes": "true", "on": "true", "1": "true",
           "false": "false", "no": "false", "off": "false", "0": "false"}  # fmt: skip
_NOTHING = frozenset({"none", "null", "nil", "nan", "undefined"})
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def meant_by(annotation: Any, value: Expression, scope: Scope) -> Help | str | None:
    """Return the help for a value of the wrong type; None if there is none."""
    if isinstance(value, Path) and (value.name or "").lower() in _NOTHING:
        return "leave the line out if nothing is meant"
    convert = _converter(annotation)
    return convert(annotation, value, scope) if convert else None


def _converter(annotation: Any) -> Callable[[Any, Expression, Scope], Help | str | None] | None:
    if annotation in _CONVERTERS:
        return _CONVERTERS[annotation]
    if annotation in schema.FUNCTIONS.values():
        return _function
    if get_origin(annotation) is Annotated:
        return lambda a, v, s: meant_name(a.__metadata__[0].kinds, v, s)
    if get_origin(annotation) is Literal:
        return _word
    if get_origin(annotation) is tuple:
        return lambda a, v, s: meant_by(get_args(a)[0], v, s)
    return None


def written(value: Expression, scope: Scope) -> str:
    """Return a value as it is written in the source."""
    return scope.report.text_of(value.span)


def _boolean(_: Any, value: Expression, scope: Scope) -> Help | None:
    said = {Path: lambda v: v.name, String: lambda v: v.value, Number: lambda v: v.text}
    text = said[type(value)](value) if type(value) in said else None
    truth = _TRUTHS.get((text or "").lower())
    return replace(value.span, truth) if truth else None


def _number(kind: Any, value: Expression, scope: Scope) -> Help | None:
    number = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?%?"
    if isinstance(value, String) and re.fullmatch(number, value.value.strip()):
        return replace(value.span, value.value.strip(), "write it without quotation marks")
    text = written(value, scope)
    if isinstance(value, List) and re.fullmatch(r"-?[0-9]{1,3}(,[0-9]{3})+", text):
        return replace(value.span, text.replace(",", ""))
    if isinstance(value, List) and kind is float and re.fullmatch(r"-?[0-9]+,[0-9]+", text):
        return replace(value.span, text.replace(",", "."))
    if isinstance(value, List) and len(value.items) == 1 and is_arithmetic(value.items[0]):
        return replace(value.span, written(value.items[0], scope))
    return None


def _text(_: Any, value: Expression, scope: Scope) -> Help | None:
    if isinstance(value, (Call, List, String)) or value.span.line != value.span.end_line:
        return None
    literal = quote(written(value, scope))
    return replace(value.span, literal) if len(literal) < 300 else None


def meant_name(kinds: tuple[str, ...], value: Expression, scope: Scope) -> Help | None:
    """Return the help for a value that should be the name of a block."""
    known = scope.names(*kinds)
    text = value.value if isinstance(value, String) else written(value, scope)
    if isinstance(value, (String, Binary)):
        if text in known:
            return replace(value.span, text, f"write it without quotation marks: `{text}`")
        near = did_you_mean(text, known)
        return replace(value.span, near, f"did you mean `{near}`?") if near else None
    if isinstance(value, List) and len(value.items) == 1:
        return replace(value.span, written(value.items[0], scope))
    return None


def _word(annotation: Any, value: Expression, scope: Scope) -> Help | None:
    text = value.value if isinstance(value, String) else written(value, scope)
    near = text if text in get_args(annotation) else did_you_mean(text, get_args(annotation))
    return replace(value.span, near, f"did you mean `{near}`?") if near else None


def _function(cls: Any, value: Expression, scope: Scope) -> Help | str | None:
    name = next(name for name, known in schema.FUNCTIONS.items() if known is cls)
    needed = [a for a in attrs.fields(cls) if a.default is attrs.NOTHING]
    said = (
        value.value
        if isinstance(value, String)
        else value.name
        if isinstance(value, Path)
        else None
    )
    if said is not None and said.lower() == name:
        help = f"write `{name}()`, with its arguments in the brackets"
        return help if needed else replace(value.span, f"{name}()", help)
    return None


def _limit(_: Any, value: Expression, scope: Scope) -> Help | None:
    if is_arithmetic(value) or isinstance(value, List):
        return replace(value.span, f"norm <= {written(value, scope)}")
    if not isinstance(value, Binary) or value.operator not in _FLIPPED:
        return None
    left, right = value.left, value.right
    if isinstance(right, Path) and right.name == "norm":
        return replace(value.span, f"norm <= {written(left, scope)}")
    if isinstance(left, Path) and left.name in ("norm", "limit") and is_arithmetic(right):
        return replace(value.span, f"norm <= {written(right, scope)}")
    return None


def _site(_: Any, value: Expression, scope: Scope) -> Help | str | None:
    models = scope.names("model")
    if isinstance(value, String):
        hook = re.fullmatch(r"blocks\.([0-9]+)\.hook_resid_(pre|post)", value.value)
        if hook and len(models) == 1:
            end = {"pre": "input", "post": "output"}[hook[2]]
            return replace(value.span, f"{models[0]}.layers[{hook[1]}].{end}")
        return None
    if not isinstance(value, Path):
        return None
    edits: list[Edit] = []
    words = [part for part in value.parts if isinstance(part, nodes.Word)]
    if len(value.parts) == 3 and len(words) == 2:
        return f"add `.output` or `.input`: `{written(value, scope)}.output`"
    if len(value.parts) != 4 or len(words) != 3:
        return None
    if words[1].text != "layers" and did_you_mean(words[1].text, ["layers"]):
        edits.append(Edit(words[1].span, "layers"))
    if words[2].text not in ("input", "output"):
        sides = {"out": "output", "in": "input", "post": "output", "pre": "input"}
        side = sides.get(words[2].text.lower()) or did_you_mean(words[2].text, ["input", "output"])
        edits += [Edit(words[2].span, side)] if side else []
    if not edits:
        return None
    return Help(
        "did you mean " + " and ".join(f"`{edit.text}`" for edit in edits) + "?", tuple(edits)
    )


_CONVERTERS: dict[Any, Callable[[Any, Expression, Scope], Help | str | None]] = {
    bool: _boolean, int: _number, float: _number, str: _text, schema.Limit: _limit,
    schema.ClampValue: lambda _, value, scope: _number(float, value, scope),
    schema.Site: _site,
}  # fmt: skip


def flipped(operator: str) -> str:
    """Return the comparison that says the same with its sides exchanged."""
    return _FLIPPED[operator]


def without_percent(value: Expression) -> Help | str:
    """Return the help for a share that should be a plain number."""
    help = "write a plain number"
    if isinstance(value, Unary) and isinstance(value.operand, Number):
        return replace(value.span, f"-{value.operand.text.rstrip('%')}", help)
    return replace(value.span, value.text.rstrip("%"), help) if isinstance(value, Number) else help


def ascending(value: Expression, norms: list[Quantity | None]) -> Help | str:
    """Return the help that puts budgets in their order."""
    items = value.items if isinstance(value, List) else (value,)
    texts = {
        norm.value: print_expression(item) for norm, item in zip(norms, items, strict=True) if norm
    }
    kept = [texts[norm] for norm in sorted(texts) if norm > 0]
    if not kept or not isinstance(value, List):
        return "write a number above 0"
    return replace(value.span, f"[{', '.join(kept)}]")


def meant_objective(value: Expression, scope: Scope) -> Help | str | None:
    """Return the help for a value that an attack cannot maximize."""
    known = scope.names("behavior")
    inner = value.arguments[0].value if isinstance(value, Call) and value.arguments else None
    if isinstance(inner, Path) and inner.name in known:
        return replace(value.span, inner.name)
    if isinstance(value, Call):
        help = help_with_word(value.function.span, value.function.text, ("logprob",))
        return help or "write `logprob(base_answer)`"
    return meant_name(("behavior",), value, scope)
