PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin

.PHONY: demo test bench lint types fast generated editors docs clean

## Sets up and runs the shipped audit on a real 135M-parameter model. Exit code 1 of the run is a
## verdict (an expectation does not hold), not a failure.
demo: $(VENV)/installed
	$(BIN)/recoverdsl run specs/ioi.rec || test $$? -eq 1

## Sets up and runs the linters, the type checker and all tests.
test: lint types
	$(BIN)/python -m pytest -n auto --dist loadfile

## The tests without those that run the real model.
fast: $(VENV)/installed
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

bench: $(VENV)/installed
	$(BIN)/python bench/attack.py
	$(BIN)/python bench/refusal.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

types: $(VENV)/installed
	$(BIN)/mypy

## Writes the files that are made from the grammar, the schema and the commands.
generated: $(VENV)/installed
	$(BIN)/python -m recoverdsl.highlighting.textmate editors/vscode/syntaxes/recoverdsl.tmLanguage.json
	$(BIN)/python -m recoverdsl.commands.page docs/commands.md
	$(BIN)/python -m recoverdsl.language.reference docs/reference
	$(BIN)/python -m recoverdsl.measure.table_page docs/reference/examples.md

## Builds the documentation site into build/site. Fails on any warning, dead links and anchors among them.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

## Builds the extension of VS Code, and compares what it colors with the Pygments lexer. Needs node.
editors: $(VENV)/installed
	cd editors/vscode && npm install && npm run package
	$(BIN)/python -m tests.highlighting.in_editor

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs
