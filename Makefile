# One vocabulary for people, hooks and CI. `make` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROFILE ?= demo
# Two processes on two cores: with two threads each, small tensors waited for one another. Files are dealt out in
# their own order: the one that is long by one slow test is not left for the end.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help env demo study test test-all coverage lint tables format ui clean constraints

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(BIN)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Vitrine needs Python 3.11 or newer (PYTHON=... make)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	@# uv installs in a fraction of pip's time; where it cannot reach the index, pip does the same
	@# compiled once here, not in every process of every stage
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --compile-bytecode -c constraints.txt -e '.[dev]' \
	  || $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

env: $(BIN)/.installed  ## the environment in .venv (7 GB: torch's index build carries CUDA)

demo: env  ## the whole graph on the synthetic shop, results on the terminal
	$(BIN)/vitrine run all

study: env  ## ablations, extra rows and further seeds, after the demo (results in metrics/study_*.json)
	$(BIN)/vitrine run study

test: env  ## the default test suite (about eight minutes on two cores)
	$(PYTEST) -m "not slow"

test-all: env  ## kills, services and other long tests too
	$(PYTEST)

coverage: env  ## which lines the default tests run, as a table and in build/coverage/index.html
	$(PYTEST) -m "not slow" --cov=components --cov=flows \
	  --cov-report=term:skip-covered --cov-report=html:build/coverage

lint: env  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tables: env  ## the tables in docs/results from metrics/ and results/
	$(BIN)/python -m components.report refresh docs/results/*.md

format: env  ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: env  ## MLflow on the recorded runs; prints the address to open
	$(BIN)/python -m components.tracking ui --start

constraints: env  ## pin the newest set that fits pyproject.toml
	( echo "# The tested set of versions (names and versions only). Made by: make constraints"; \
	  $(BIN)/uv pip compile pyproject.toml --extra dev --extra remotes --no-annotate --no-header --quiet --python-version 3.11 \
	  | grep -E '^[a-zA-Z0-9_.-]+==' ) > constraints.tmp && mv constraints.tmp constraints.txt

clean:  ## remove what was computed; the environment and the DVC cache stay
	rm -rf data/catalog data/truth data/checked data/quarantine data/embeddings models plots reports results/per_query
	rm -rf .vitrine .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find mlruns -mindepth 1 ! -name .gitkeep -delete
