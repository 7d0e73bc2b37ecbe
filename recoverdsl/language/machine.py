"""The LALR parser that Lark made of the grammar, fed token by token, and set back after a mistake.

Lark can do this as well. This takes a third of its time, which decides how long a large file takes:
values pass through a dozen rules of precedence, `?sum: product`, that leave them as they are, and
all of those are one step here.
"""

from __future__ import annotations

from typing import Any

from lark import Lark, Token
from lark.parsers.lalr_analysis import Shift

Stacks = tuple[list[Any], list[Any]]


class Machine:
    """A parser at work.

    Args:
        lark: a grammar with `parser="lalr"` and a transformer.
    """

    def __init__(self, lark: Lark) -> None:
        state = lark.parse_interactive("").parser_state
        self.table = state.parse_conf.parse_table.states
        self.build = state.parse_conf.callbacks
        self.end = state.parse_conf.end_state
        self.states: list[Any] = list(state.state_stack)
        self.values: list[Any] = []
        self.passing = {rule for rule in lark.rules if _passes(rule)}
        self.passed: dict[tuple[Any, Any, str], Any] = {}

    def take(self, token: Token) -> bool:
        """Whether a token can follow; if so it is taken."""
        kind = token.type
        states, values, table = self.states, self.values, self.table
        while True:
            top = states[-1]
            step = table[top].get(kind)
            if step is None:
                return False
            action, target = step
            if action is Shift:
                states.append(target)
                values.append(token)
                return True
            if target in self.passing:
                states[-1] = self._pass(states[-2], top, kind)
                continue
            size = len(target.expansion)
            if size:
                children = values[-size:]
                del states[-size:], values[-size:]
            else:
                children = []
            values.append(self.build[target](children))
            states.append(table[states[-1]][target.origin.name][1])

    def finish(self, last: Token) -> Any:
        """What the whole text has become; None if it cannot end here."""
        self.take(Token.new_borrow_pos("$END", "", last))
        return self.values[-1] if self.states[-1] == self.end else None

    def accepted(self) -> set[str]:
        """The types of tokens that can follow."""
        return {k for k in self.table[self.states[-1]] if k.isupper() and self._could_take(k)}

    def stacks(self) -> Stacks:
        """What was taken before the last token, to come back to."""
        return self.states[:-1], self.values[:-1]

    def set_back(self, stacks: Stacks) -> None:
        """Forget what was taken since."""
        self.states[:], self.values[:] = stacks

    def _pass(self, below: Any, top: Any, kind: str) -> Any:
        """The state behind all rules that hand a value on as it is."""
        key = (below, top, kind)
        if key not in self.passed:
            state = top
            while (step := self.table[state].get(kind)) and step[1] in self.passing:
                state = self.table[below][step[1].origin.name][1]
            self.passed[key] = state
        return self.passed[key]

    def _could_take(self, kind: str) -> bool:
        states = list(self.states)
        while step := self.table[states[-1]].get(kind):
            if step[0] is Shift:
                return True
            size = len(step[1].expansion)
            del states[len(states) - size :]
            states.append(self.table[states[-1]][step[1].origin.name][1])
        return False


def _passes(rule: Any) -> bool:
    """Whether a rule hands on the one value that it is made of."""
    one = len(rule.expansion) == 1 and not rule.expansion[0].is_term
    return bool(one and rule.options.expand1 and not rule.alias and not rule.expansion[0].name.startswith("_"))  # fmt: skip
