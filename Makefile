# Two commands: `make run` and `make test`. Both install what they need into .venv, and install it again only when a
# lock file has changed.

PORT ?= 8000
# The minutes that soak and chaos run, and the seed of soak, chaos and the tests. Without a seed they draw one, and
# print it.
MINUTES ?= 2
SEED ?=
# The tests that `make test` runs: files, directories, the id of a test, or an expression for pytest's -k.
ONLY ?=
# Each path is one argument. An id with spaces is one argument, and so is an expression for -k.
PATHS := tests tests/%
SELECTED = $(if $(filter-out $(PATHS),$(ONLY)),$(if $(filter $(PATHS),$(ONLY)),,-k )'$(ONLY)',$(patsubst %,'%',$(ONLY)))
# More workers than processor cores: a worker that waits for the database leaves its core to another worker.
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$candidate"; break; }; done)
INSTALL = $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install --root-user-action=ignore
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet

# Compiled modules are kept, even if the environment forbids it: otherwise each process would compile all modules.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(if $(SEED),--seed $(SEED))
PYTEST_ALL = $(PYTEST) -n $(WORKERS) --dist worksteal
# The tests run each query on both engines. Tests that write run once on each engine.
MUTATING := tests/graph/schema/comments tests/graph/schema/money tests/graph/schema/posts tests/graph/schema/users tests/graph/schema/sessions/test_sessions.py \
	tests/graph/schema/test_equal_changes.py
READING := $(filter-out $(MUTATING),$(wildcard tests/graph/schema/test_*.py))

.PHONY: run test lint format schema lock soak chaos chaos-controls test-long bench bench-peers bench-growth bench-wrk bench-observability clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

run: $(VENV)/.run  ## database, migrations, demo data and server on 127.0.0.1:$(PORT)
	@exec $(BIN)/folio dev --port $(PORT)

test: $(VENV)/.installed  ## lint, types and all tests except long ones; ONLY=tests/graph/schema runs only these tests
ifeq ($(ONLY),)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST_ALL)
	$(PYTEST_ALL) --engine ordinary $(MUTATING)
else
	$(if $(word 2,$(ONLY)),$(PYTEST_ALL),$(PYTEST)) $(SELECTED)
endif

lint: $(VENV)/.installed  ## only lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: $(VENV)/.installed  ## write schema.graphql
	$(BIN)/folio schema print > schema.graphql.new
	mv schema.graphql.new schema.graphql

# Each lock includes the previous one: for production, for `make run`, for `make test`.
lock:  ## resolve the dependencies again; needs uv
	$(COMPILE) --upgrade --output-file requirements.lock
	$(COMPILE) --upgrade --extra embedded --group build --constraint requirements.lock --output-file requirements-run.lock
	$(COMPILE) --upgrade --extra embedded --extra telemetry --group dev --group build --constraint requirements-run.lock \
		--output-file requirements-dev.lock

soak: $(VENV)/.installed  ## clients check every answer for MINUTES minutes, while network, database and workers fail
	$(BIN)/python -m bench.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

chaos: $(VENV)/.installed  ## the promises about money (docs/MONEY.md) for MINUTES minutes, during faults of all parts
	$(BIN)/python -m bench.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

chaos-controls: $(VENV)/.installed  ## plant each known bug in a copy of the project; its check must find it
	$(BIN)/python -m bench.chaos.controls

test-long: $(VENV)/.installed  ## every test with all its examples, on both engines, and one minute of chaos
	$(PYTEST_ALL) --long
	$(PYTEST_ALL) --long --engine ordinary $(MUTATING) $(READING)
	$(BIN)/python -m bench.chaos --minutes 1 $(if $(SEED),--seed $(SEED))

bench: $(VENV)/.installed bench-wrk bench-peers  ## compare Folio with its peers; writes bench/results.md and plot.svg
	$(BIN)/python -m bench --write bench --readme README.md

bench-growth: $(VENV)/.installed bench-wrk  ## measure deep pages, many rows, two workers and an hour of requests
	$(BIN)/python -m bench.growth

bench-peers: bench/peers/node_modules/.installed bench/peers/site-packages/.installed  ## the packages of Folio's peers

bench/peers/site-packages/.installed: bench/peers/strawchemy/requirements.txt $(VENV)/.installed
	rm -rf bench/peers/site-packages
	$(INSTALL) --quiet --require-hashes --no-deps --target bench/peers/site-packages --requirement $<
	@touch $@

bench/peers/node_modules/.installed: bench/peers/package-lock.json
	npm ci --prefix bench/peers --no-audit --no-fund
	@touch $@

# The load generator. Root installs it from Debian's packages; other users get a message.
bench-wrk:
	@command -v wrk >/dev/null || { test "$$(id -u)" = 0 && apt-get update -q && apt-get install -y wrk; } \
		|| { echo "the benchmark needs wrk, for example by: sudo apt-get install wrk" >&2; exit 1; }

bench-observability: $(VENV)/.installed  ## measure the cost of log lines, metrics and tracing
	PYTHONPATH=. $(BIN)/python bench/observability.py

clean:  ## remove the virtual environment and the development data
	rm -rf $(VENV) .folio

# Without ensurepip, which Debian has in a separate package: the pip outside installs into the new environment.
# The output of pip is shown, because the first installation takes about a minute.
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
