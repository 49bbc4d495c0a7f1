# Two commands on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check docs

demo: .venv/installed  ## real data, a comparison with the floor, pictures and a report
	$(BIN)/omniform demo --out demo-report

test: .venv/installed  ## the quick tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

check: .venv/installed  ## style, types, and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: .venv/installed  ## the generated pages
	$(BIN)/python docs/generate_zoo.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[all,dev]'
	touch $@
