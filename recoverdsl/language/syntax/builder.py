"""Called by the parser for every rule that it recognizes: makes the syntax nodes."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from lark import Token

from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.literals import unescape
from recoverdsl.language.syntax.nodes import Span
from recoverdsl.language.syntax.tokens import span_of

Children = list[Any]


def _span(child: Any) -> Span:
    return span_of(child) if isinstance(child, Token) else child.span


def _across(children: Children) -> Span:
    return _span(children[0]).to(_span(children[-1]))


def _nodes(children: Children) -> tuple[Any, ...]:
    return tuple(child for child in children if not isinstance(child, Token))


def _word(token: Token) -> nodes.Word:
    return nodes.Word(str(token), span=span_of(token))


class Builder:
    """One method per rule of the grammar, by its name. Children include every token."""

    def file(self, children: Children) -> tuple[nodes.Statement, ...]:
        return _nodes(children)

    def version(self, children: Children) -> nodes.Version:
        number = nodes.Number(str(children[1]), span=span_of(children[1]))
        return nodes.Version(number, span=_across(children))

    def imports(self, children: Children) -> nodes.Import:
        names = tuple(_word(child) for child in children[1:-1] if child.type == "NAME")
        return nodes.Import(names, self.string(children[-1:]), span=_across(children))

    def audit(self, children: Children) -> nodes.Audit:
        return nodes.Audit(self.string(children[1:]), span=_across(children))

    def param(self, children: Children) -> nodes.Param:
        value, *bounds = _nodes(children)
        return nodes.Param(
            _word(children[1]), value, bounds[0] if bounds else None, span=_across(children)
        )

    def expect(self, children: Children) -> nodes.Expect:
        by = _word(children[3]) if len(children) > 2 else None
        return nodes.Expect(children[1], by, span=_across(children))

    def head(self, children: Children) -> nodes.Block:
        kind, *others = [_word(child) for child in children if child.type == "NAME"]
        like = others.pop() if any(child.type == "LIKE" for child in children) else None
        span = _across(children)
        return nodes.Block(kind, others[0] if others else None, like, (), span=span, head=span)

    def block(self, children: Children) -> nodes.Block:
        head, *body = _nodes(children)
        block: nodes.Block = evolve(head, body=tuple(body), span=_across(children))
        return block

    def attribute(self, children: Children) -> nodes.Attribute:
        return nodes.Attribute(children[0], children[2], span=_across(children))

    def bare_list(self, children: Children) -> nodes.List:
        return nodes.List(_nodes(children), bare=True, span=_across(children))

    def binary(self, children: Children) -> nodes.Binary:
        left, operator, right = children
        return nodes.Binary(str(operator), left, right, span=_across(children))

    def unary(self, children: Children) -> nodes.Unary:
        return nodes.Unary(str(children[0]), children[1], span=_across(children))

    def path(self, children: Children) -> nodes.Path:
        parts: list[nodes.Word | nodes.Index] = []
        for i, child in enumerate(children):
            if not isinstance(child, Token):
                span = _across(children[i - 1 : i + 2])
                parts.append(nodes.Index(child, span=span))
            elif child.type == "NAME":
                parts.append(_word(child))
        return nodes.Path(tuple(parts), span=_across(children))

    def call(self, children: Children) -> nodes.Call:
        return nodes.Call(_word(children[0]), _nodes(children), span=_across(children))

    def argument(self, children: Children) -> nodes.Argument:
        name = _word(children[0]) if len(children) == 3 else None
        return nodes.Argument(name, children[-1], span=_across(children))

    def list(self, children: Children) -> nodes.List:
        return nodes.List(_nodes(children), span=_across(children))

    def group(self, children: Children) -> nodes.Expression:
        inner: nodes.Expression = evolve(children[1], span=_across(children))
        return inner

    def number(self, children: Children) -> nodes.Number:
        return nodes.Number(str(children[0]), span=_across(children))

    def string(self, children: Children) -> nodes.String:
        return nodes.String(unescape(str(children[0])), span=_across(children))

    def boolean(self, children: Children) -> nodes.Boolean:
        return nodes.Boolean(children[0].value == "true", span=_across(children))
