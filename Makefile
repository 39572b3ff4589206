# The two commands of the README. Both make .venv when it is not there or pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: bench test lint clean

bench: .venv/installed
	$(BIN)/aegen-bench run --profile smoke

test: .venv/installed lint
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[offline,models,cluster,dev]'
	touch $@

clean:
	rm -rf .venv
