# hazfence: everything a person needs, from a bare clone on Debian 12.
#   make demo   set up, run a simulated day through the whole system, show what it found
#   make test   set up, run every test
#   make check  linters, types, import contracts, tests
#   make chaos  kill, freeze and cut off everything for a quarter of an hour, and compare all rows (KILLS=500 SEED=7)
#   make fuzz   a million odd inputs at everything that takes input from outside (FUZZ_CASES=1000000 SEED=7)
#   make nightly  20,000 examples of every property, for hours (NIGHTLY='tests/property/test_late.py -k any_order': half an hour)
#   make audit  known vulnerabilities of the pinned packages, where a registry of them can be reached
#   make bench  measure this machine for five minutes, write .bench/report.html, tell what changed since the baseline
#   make bench-report  the same, then the largest sizes; write docs/benchmarks.md and the baseline anew (quiet machine!)
#   make up     PostGIS, Redis, a broker and a worker, privately, until `make down`

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UP := .hazfence
KILLS ?= 500
FUZZ_CASES ?= 1000000
NIGHTLY ?= tests/property

.PHONY: week help setup demo test check lint chaos fuzz audit bench bench-report nightly up down clean

help:
	@sed -n '2,11s/^# *//p' Makefile

$(VENV)/.system: scripts/install-system-packages.sh
	@sh scripts/install-system-packages.sh
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.ready: $(VENV)/.system pyproject.toml constraints.txt
	@echo "installing Python packages into $(VENV) (a minute the first time)"
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.ready

demo: setup
	@$(BIN)/hazfence demo

# Apache Kafka for the tests, where Java and Maven are there; the tests say which broker they ran on.
.PHONY: kafka
kafka:
	@sh scripts/fetch-kafka.sh || true

test: setup kafka
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

week: setup
	@$(BIN)/python -m hazfence_replay.week

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy examples/*.py
	@$(BIN)/lint-imports

check: lint test

chaos: setup kafka
	@$(BIN)/python -m tests.chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED))

fuzz: setup
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[fuzz]' \
		|| echo "atheris cannot be installed here" >&2
	@$(BIN)/python -m tests.fuzz --cases $(FUZZ_CASES) $(if $(SEED),--seed $(SEED))

audit: setup
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/pip install -q --disable-pip-version-check pip-audit
	@$(VENV)-audit/bin/python scripts/audit.py

# The answers count: a wrong one or a suite that breaks fails, a slow machine never does.
bench: setup kafka
	@mkdir -p .bench
	@$(BIN)/hazfence bench all --quick --save .bench/quick.json --html .bench/report.html
	@$(BIN)/hazfence bench compare benchmarks/baseline.json .bench/quick.json

bench-report: bench
	@$(BIN)/hazfence bench vehicles --counts 1000000 --repeats 5 --save .bench/vehicles.json
	@$(BIN)/hazfence bench fences --counts 100000 --repeats 5 --save .bench/fences.json
	@$(BIN)/hazfence bench report .bench/quick.json .bench/vehicles.json .bench/fences.json --markdown docs/benchmarks.md
	@cp .bench/quick.json benchmarks/baseline.json

nightly: setup
	@HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest $(NIGHTLY)

up: setup
	@mkdir -p $(UP)
	@$(BIN)/hazfence up --folder $(UP) --detach

down:
	@if [ -x $(BIN)/hazfence ]; then $(BIN)/hazfence down --folder $(UP); else echo "nothing is up: there is no $(VENV)"; fi

clean: down
	@rm -rf $(VENV) $(VENV)-audit .demo .bench $(UP) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
