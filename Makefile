# One virtual environment serves every target; it is made anew when the dependencies change.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow check format clean

demo: .venv/installed
	$(BIN)/resnets train digits --run runs/digits --overwrite
	$(BIN)/resnets evaluate runs/digits
	$(BIN)/resnets predict runs/digits examples/digits --top 2
	@echo "The report, for a browser: runs/digits/report.html"

# One process a processor, one thread each: small networks gain nothing from more.
test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile --max-worker-restart 0

slow: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

check: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/installed
