"""The layers of the package, which pyproject.toml lists, and imports without circles."""

from __future__ import annotations

from pathlib import Path

import grimp
import networkx
import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[1]


def test_the_contracts_of_the_layers_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Late imports and those for types alone count too, and so does a package's `__init__`."""
    graph = grimp.build_graph("recoverdsl", cache_dir=None)
    imports = networkx.DiGraph(
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    )
    assert "recoverdsl.api" in imports
    found = networkx.strongly_connected_components(imports)
    assert {frozenset(circle) for circle in found if len(circle) > 1} == set()
