"""Everything that the Python interface takes, returns or raises can be imported from `recoverdsl`."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import pandas as pd
import pytest

import recoverdsl
from recoverdsl import api, errors

PUBLIC = {name: getattr(recoverdsl, name) for name in recoverdsl.__all__}

FACADE = [recoverdsl.Audit, recoverdsl.AuditAt, recoverdsl.Run, recoverdsl.SweepRun]
"""The classes whose methods people call."""


def test_the_table_the_imports_for_type_checkers_and_all_agree() -> None:
    tree = ast.parse(Path(recoverdsl.__file__).read_text("utf-8"))
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == recoverdsl._MODULES
    assert sorted(recoverdsl.__all__) == sorted({*imported, "__version__"})


@pytest.mark.parametrize("name", recoverdsl.__all__)
def test_a_public_name_is_found_and_listed(name: str) -> None:
    assert name in dir(recoverdsl)
    value = PUBLIC[name]
    if inspect.isclass(value):
        assert value.__module__ == recoverdsl._MODULES[name]


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Audits'"):
        _ = recoverdsl.Audits  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_but_its_version() -> None:
    code = "import sys; before = set(sys.modules); import recoverdsl; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.partition(".")[0] == "recoverdsl"}
    assert ours == {"recoverdsl", "recoverdsl.version"}
    assert {"attrs", "lark", "numpy", "pandas", "torch"}.isdisjoint(done.stdout.split())


def test_every_error_is_public() -> None:
    kinds = {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.RecoverdslError)
    }
    assert len(kinds) >= 8
    assert kinds.items() <= PUBLIC.items()


def test_every_class_in_the_signatures_of_the_interface_is_public() -> None:
    """And so are the records in its results. An annotation is read with the public names alone."""
    found: dict[type, str] = {}
    todo = [(place, hint) for place, hint in hints_of_facade()]
    while todo:
        place, hint = todo.pop()
        for kind in classes_in(hint):
            if kind in found or kind.__module__.partition(".")[0] != "recoverdsl":
                continue
            found[kind] = place
            if kind.__module__.startswith(("recoverdsl.measure.", "recoverdsl.report.")):
                todo += [(f"{kind.__name__}.{n}", h) for n, h in get_type_hints(kind).items()]
    hidden = {
        f"{place}: {kind.__name__}"
        for kind, place in found.items()
        if PUBLIC.get(kind.__name__) is not kind
    }
    assert hidden == set()
    assert {recoverdsl.Estimate, recoverdsl.Graph, recoverdsl.SweepResult} <= set(found)


def members_of(kind: type) -> dict[str, Any]:
    """The members of a class, those of its bases in the package included."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("recoverdsl.")]
    return {name: member for base in reversed(own) for name, member in vars(base).items()}


def hints_of_facade() -> Iterator[tuple[str, Any]]:
    """The annotations of public functions, methods, properties and fields, each with its place."""
    names = {**vars(api), **PUBLIC, "pd": pd}
    yield from (("load", hint) for hint in get_type_hints(api.load, names).values())
    for kind in FACADE:
        for name, member in members_of(kind).items():
            function = {property: lambda m: m.fget, cached_property: lambda m: m.func}.get(
                type(member), lambda m: m
            )(member)
            if inspect.isfunction(function) and not name.startswith("_"):
                for hint in get_type_hints(function, names | function.__globals__).values():
                    yield f"{kind.__name__}.{name}", hint
        of_fields = get_type_hints(kind, names)
        for field in attrs.fields(kind):
            if not field.name.startswith("_"):
                yield f"{kind.__name__}.{field.name}", of_fields[field.name]


def classes_in(hint: Any) -> Iterator[type]:
    """The classes that an annotation is made of."""
    if inspect.isclass(hint) and not get_args(hint):
        yield hint
    for inner in get_args(hint):
        for each in inner if isinstance(inner, list) else [inner]:
            yield from classes_in(each)
