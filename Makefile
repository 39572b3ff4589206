# The commands of the README. They make .venv when it is not there or pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin
SIDE_BY_SIDE := -n auto --dist worksteal

.PHONY: bench test tests quicktest lint style types docs perf perf-full gpu-check clean

bench: .venv/installed
	$(BIN)/aegen-bench run --profile smoke

# mypy needs half a minute of one core without a cache, in which the tests begin.
test: style
	$(MAKE) --no-print-directory --jobs 2 types tests

tests: .venv/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

quicktest: .venv/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not cluster"

lint: style types

style: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

# How fast it is, a script a question: `perf` runs the short forms (minutes), `perf-full` everything (hours).
# For the comparison with pythae: .venv/bin/pip install -c constraints.txt -e '.[perf]'
QUICK := whole_paper startup second_stage compiled utilisation training_loop forecast trial \
         grid memory evaluation metrics inference
FULL := $(QUICK) extraction plan

perf: .venv/installed
	$(foreach name,$(QUICK),$(BIN)/python perf/$(name).py --quick &&) true

perf-full: .venv/installed
	$(foreach name,$(FULL),$(BIN)/python perf/$(name).py &&) $(BIN)/python perf/report.py results/lite/fashion/glf/seed-0

# On the first GPU: is it correct, how fast is it? Eight minutes; the answers are lines of JSON in gpu.json.
gpu-check: .venv/installed
	$(BIN)/python perf/gpu.py --out gpu.json

# The documentation as a site in build/site; docs/cli.md is made from the commands' own help.
docs: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	COLUMNS=120 TERMINAL_WIDTH=120 $(BIN)/python -m typer aegen_bench.cli utils docs --name aegen-bench --title Commands --output docs/cli.md
	$(BIN)/mkdocs build --strict

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[offline,models,cluster,exchange,dev]'
	touch $@

clean:
	rm -rf .venv
