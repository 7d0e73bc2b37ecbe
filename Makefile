PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin

.PHONY: demo test numeric mutants bench lint types fast generated editors docs clean

## Sets up and runs the shipped audit on a real 135M-parameter model. Exit code 1 of the run is a
## verdict (an expectation does not hold), not a failure.
demo: $(VENV)/installed
	$(BIN)/recoverdsl run specs/ioi.rec || test $$? -eq 1

## Sets up and runs the linters, the type checker and all tests, the quick numeric ones also on the
## kernels of another processor.
test: lint types
	$(BIN)/python -m pytest -n auto --dist loadfile
	$(MAKE) numeric KERNELS="default-1 avx2-2" NUMERIC="$(QUICK)"

## The numeric tests on the kernels of a processor without vector units and of one with AVX2, with one
## thread and with two. Rounding differs between them.
KERNELS = default-1 default-2 avx2-1 avx2-2
NUMERIC = tests/engine tests/measure/test_features.py tests/measure/test_intervals.py
QUICK   = tests/engine/model tests/engine/defense tests/engine/behavior/test_feature_effects.py \
          $(addprefix tests/engine/attack/test_,constraints.py gradients.py search.py delta_parts.py) \
          tests/engine/steps tests/measure/test_features.py tests/measure/test_intervals.py
numeric: $(VENV)/installed
	$(MAKE) -j2 $(addprefix numeric/,$(KERNELS))

# A thread that waits actively takes the core from the one that it waits for.
numeric/%: threads = $(word 2,$(subst -, ,$*))
numeric/%:
	ATEN_CPU_CAPABILITY=$(word 1,$(subst -, ,$*)) OMP_WAIT_POLICY=PASSIVE \
	OMP_NUM_THREADS=$(threads) MKL_NUM_THREADS=$(threads) \
	$(BIN)/python -m pytest -p no:cacheprovider $(NUMERIC)

## The tests without those that run the real model.
fast: $(VENV)/installed
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

## Changes the code of the figures and of the attacks in one place at a time, and tells which changes no
## test notices: see tests/mutation/README.md. Takes hours; MUTANTS=300 draws so many.
mutants: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[mutation]"
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation run
	$(BIN)/python -m tests.mutation results

bench: $(VENV)/installed
	$(BIN)/python bench/attack.py
	$(BIN)/python bench/refusal.py
	$(BIN)/python bench/server.py

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
	$(BIN)/python -m recoverdsl.measure.flag_pages docs/reference/checks.md

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
