# Everything a checkout needs: Python 3.11+ and make. Each target makes the virtual environment it needs by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(patsubst %/pyproject.toml,%,$(sort $(wildcard plugins/*/pyproject.toml)))
ERP ?= simulator
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

# The variables of a list that are set, as options: MINUTES=1 becomes --minutes 1.
options = $(foreach name,$(1),$(if $($(name)),--$(shell echo $(name) | tr A-Z_ a-z-) $($(name))))

.PHONY: help demo test chaos outage limits fairness isolation backfill bench bench-full fuzz check contracts fix generate lock clean
help:  ## what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Crossdock needs Python 3.11 or newer; say make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.runtime: $(VENV)/.python requirements.lock pyproject.toml $(PLUGINS:%=%/pyproject.toml)
	@echo "installing Crossdock into $(VENV)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e . $(PLUGINS:%=-e %)
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.runtime  ## a trading day in a minute and a quarter (ERP=tryton: a real Tryton; DEMO_EXIT=1: end after the table)
	@$(BIN)/hub demo --erp $(ERP) $(if $(DEMO_EXIT),--exit)

test: $(VENV)/.dev  ## every test; PostgreSQL's skip with one line where none answers (CI=true: they fail)
	@$(BIN)/python -m pytest

chaos: $(VENV)/.dev  ## kill everything in turn (EVENTS, KILLS, BROKER_KILLS, DATABASE_KILLS, PAUSES, TOXICS, DISK_FULLS, CLOCK_STEPS, FAIL_OVERS, BROKERS, SEED); needs PostgreSQL and RabbitMQ programs
	@cd tests && ../$(BIN)/python -m chaos $(call options,EVENTS KILLS BROKER_KILLS DATABASE_KILLS PAUSES TOXICS STORMS DISK_FULLS CLOCK_STEPS FAIL_OVERS BROKERS ENTITIES TARGETS SEED RATE REPORT)

outage: $(VENV)/.dev  ## the broker away while events arrive (MINUTES, RATE, KIND=kill|stop|alarm|none, POISON, DRAIN, REPORT)
	@cd tests && ../$(BIN)/python -m chaos.outage $(call options,MINUTES RATE KIND POISON DRAIN REPORT)

limits: $(VENV)/.dev  ## four workers share five systems' limits (SECONDS, KILLS, SHARE, SEED)
	@cd tests && ../$(BIN)/python -m chaos.limits $(call options,SECONDS KILLS SHARE SEED)

fairness: $(VENV)/.dev  ## quiet tenants beside one that sends a hundred times as much (TURNS, SECONDS, RATE, QUIET)
	@cd tests && ../$(BIN)/python -m chaos.fairness $(call options,TURNS SECONDS RATE QUIET)

isolation: $(VENV)/.dev  ## what a connector in a process of its own costs, beside one in the hub's (DELIVERIES, TURNS)
	@cd tests && ../$(BIN)/python -m benchmarks $(call options,DELIVERIES TURNS)

backfill: $(VENV)/.dev  ## a history of RECORDS beside live sales, KILLS times killed: its cost, losses, estimate (SECONDS, DATABASE_URL)
	@cd tests && ../$(BIN)/python -m benchmarks.backfill $(call options,RECORDS KILLS SECONDS TURNS RATE SHARE TOGETHER DATABASE_URL BROKER_URL)

bench: $(VENV)/.dev  ## the main job, timed beside its parts' limits, Celery, Node-RED and n8n, in turns (ROUNDS, COUNT, ONLY; WRITE=1 keeps the page)
	@cd tests && ../$(BIN)/python -m benchmarks.bench $(call options,ROUNDS COUNT CONNECTIONS RATE ONLY DATABASE_URL BROKER_URL) $(if $(WRITE),--write)

bench-full: bench  ## bench, then what an event costs as the hub grows to MOST stored events, and what other work costs (ROUNDS, COUNT; WRITE=1)
	@cd tests && ../$(BIN)/python -m benchmarks.growth $(call options,MOST ROUNDS COUNT REPLAYED POLLED ONLY DATABASE_URL BROKER_URL) $(if $(WRITE),--write)

fuzz: $(VENV)/.dev  ## the whole contract against a running hub, by Schemathesis (EXAMPLES of each operation, SEED, DATABASE_URL)
	@cd tests && ../$(BIN)/python -m contract.fuzz $(call options,EXAMPLES SEED DATABASE_URL)

check: $(VENV)/.dev  ## format, lint, types, layers, drift
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m canonical.generate --check
	@$(BIN)/python -m hub.docs --check

contracts: $(VENV)/.dev  ## refuse what breaks a consumer of the released contract without two people's agreement
	@$(BIN)/hub contracts check

fix: $(VENV)/.dev  ## format and mend what ruff can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

generate: $(VENV)/.dev  ## write what is derived: schemas, types, reference pages
	@$(BIN)/python -m canonical.generate
	@$(BIN)/python -m hub.docs

lock:  ## resolve the lock files anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra server pyproject.toml requirements-build.in -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra server --extra dev pyproject.toml requirements-build.in -o requirements-dev.lock

clean:  ## remove what was made here
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
