# Two commands: `make run` and `make test`. Both set up all they need in .venv, and again only when a lock file changed;
# what only tests need is installed by what tests.

PORT ?= 8000
# How long soak and chaos take, and what decides their course and that of the tests; without a seed they draw one, and
# print it.
MINUTES ?= 2
SEED ?=
# What of the tests `make test` runs: files, directories, the id of a test, or words of names as pytest's -k takes them.
ONLY ?=
# Each path is an argument; an id with spaces is one, as is an expression for -k.
PATHS := tests tests/%
SELECTED = $(if $(filter-out $(PATHS),$(ONLY)),$(if $(filter $(PATHS),$(ONLY)),,-k )'$(ONLY)',$(patsubst %,'%',$(ONLY)))
# Who waits for the database leaves the processor to another.
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$candidate"; break; }; done)
INSTALL = $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install --root-user-action=ignore
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet

# Compiled modules are kept, whatever the environment says: each process of the tests would compile all of them.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(if $(SEED),--seed $(SEED))
PYTEST_ALL = $(PYTEST) -n $(WORKERS) --dist worksteal
# Queries of the tests run on both engines as it is; what writes runs once on each.
MUTATING := tests/graph/schema/comments tests/graph/schema/money tests/graph/schema/posts tests/graph/schema/users tests/graph/schema/sessions/test_sessions.py \
	tests/graph/schema/test_equal_changes.py
READING := $(filter-out $(MUTATING),$(wildcard tests/graph/schema/test_*.py))

.PHONY: run test lint format schema lock soak chaos chaos-controls test-long bench bench-growth bench-wrk bench-observability clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

run: $(VENV)/.run  ## database, migrations, demo data and server on 127.0.0.1:$(PORT)
	@exec $(BIN)/folio dev --port $(PORT)

test: $(VENV)/.installed  ## lint, types and all tests but long ones; ONLY=tests/graph/schema runs what it names alone
ifeq ($(ONLY),)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST_ALL)
	$(PYTEST_ALL) --engine ordinary $(MUTATING)
else
	$(if $(word 2,$(ONLY)),$(PYTEST_ALL),$(PYTEST)) $(SELECTED)
endif

lint: $(VENV)/.installed  ## lint and types alone
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: $(VENV)/.installed  ## write schema.graphql anew
	$(BIN)/folio schema print > schema.graphql.new
	mv schema.graphql.new schema.graphql

# Each lock holds the one before: what production needs, what `make run` needs, what `make test` needs.
lock:  ## resolve the dependencies anew; needs uv
	$(COMPILE) --upgrade --output-file requirements.lock
	$(COMPILE) --upgrade --extra embedded --group build --constraint requirements.lock --output-file requirements-run.lock
	$(COMPILE) --upgrade --extra embedded --extra telemetry --group dev --group build --constraint requirements-run.lock \
		--output-file requirements-dev.lock

soak: $(VENV)/.installed  ## clients check every answer for MINUTES minutes, while network, database and workers fail
	$(BIN)/python -m bench.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

chaos: $(VENV)/.installed  ## the promises about money (docs/MONEY.md) for MINUTES minutes, while everything beneath fails
	$(BIN)/python -m bench.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

chaos-controls: $(VENV)/.installed  ## planted bugs, each in a copy of the project: each must be caught
	$(BIN)/python -m bench.chaos.controls

test-long: $(VENV)/.installed  ## every test with all its examples, on both engines, and one minute of chaos
	$(PYTEST_ALL) --long
	$(PYTEST_ALL) --long --engine ordinary $(MUTATING) $(READING)
	$(BIN)/python -m bench.chaos --minutes 1 $(if $(SEED),--seed $(SEED))

bench: $(VENV)/.installed bench-wrk bench/peers/node_modules/.installed  ## Folio beside its peers; writes bench/results.md and plot.svg
	$(BIN)/python -m bench --write bench

bench-growth: $(VENV)/.installed bench-wrk  ## what deep pages, many rows, more workers and an hour do to Folio
	$(BIN)/python -m bench.growth

bench/peers/node_modules/.installed: bench/peers/package-lock.json
	npm ci --prefix bench/peers --no-audit --no-fund
	@touch $@

# The load generator. Root has it installed from Debian's packages; everybody else is told.
bench-wrk:
	@command -v wrk >/dev/null || { test "$$(id -u)" = 0 && apt-get update -q && apt-get install -y wrk; } \
		|| { echo "the benchmark needs wrk, for example by: sudo apt-get install wrk" >&2; exit 1; }

bench-observability: $(VENV)/.installed  ## what log lines, metrics and tracing cost
	PYTHONPATH=. $(BIN)/python bench/observability.py

clean:  ## remove the virtual environment and the development data
	rm -rf $(VENV) .folio

# Without ensurepip, which Debian keeps in a package of its own: pip installs from outside into the new environment.
# It says what it installs, so that the minute of the first time is seen to pass.
$(VENV)/.run: requirements-run.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Folio needs Python 3.11 or later on the PATH, or PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing what Folio needs into $(VENV): once, about a minute"
	@$(PYTHON) -m venv --without-pip --clear $(VENV)
	@$(INSTALL) --require-hashes --requirement requirements-run.lock
	@$(INSTALL) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed: requirements-dev.lock $(VENV)/.run
	@echo "Installing what the tests need into $(VENV): once, about a minute"
	@$(INSTALL) --require-hashes --requirement requirements-dev.lock
	@touch $@
