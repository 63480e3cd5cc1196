PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# what an installation is made from: a change to any of these installs anew
SOURCES := pyproject.toml sdk/pyproject.toml constraints.txt
# two processes, if there are as many processors; the files in their order, as the long ones are first
TOGETHER := -n logical --maxprocesses 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run test check format load bench rates chaos lists judge cost prove canary stolen \
  outbox-kills outbox-chaos sdk-bars constraints clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(VENV)/.demo ## Set everything up and run the demo (SQLite, simulated phones)
	$(BIN)/doorstep demo

test: $(VENV)/.dev ## Set everything up and run all tests
	@.ci/system-packages
	$(BIN)/python -m pytest $(TOGETHER)

check: $(VENV)/.dev ## Lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

load: $(VENV)/.dev ## Load-test the check-in path for a short time (Locust)
	$(BIN)/python loadtests/run.py

bench: $(VENV)/.dev ## Measure what check-ins cost, beside an empty handler and the usual design
	PYTHONPATH=tests $(BIN)/python loadtests/bench.py --curve --soak 1000000 --out bench

rates: $(VENV)/.dev ## The same in short: rates only, with empty tables
	PYTHONPATH=tests $(BIN)/python loadtests/bench.py --quick

judge: $(VENV)/.dev ## Measure how often judging is wrong, beside the rules of others
	$(BIN)/python geofences/evaluation/run.py

chaos: $(VENV)/.dev ## Kill servers and databases under load, race withdrawals; report (some hours)
	PYTHONPATH=tests:loadtests $(BIN)/python tests/chaos.py --out chaos

lists: $(VENV)/.dev ## Measure the lists of check-ins when much is stored
	PYTHONPATH=tests $(BIN)/python loadtests/lists.py

cost: $(VENV)/.dev ## Measure what judging a fix costs, beside bare Shapely
	$(BIN)/python geofences/evaluation/cost.py

prove: $(VENV)/.dev ## Run the long proofs of judging and of many sites (an hour)
	PYTHONPATH=tests $(BIN)/python tests/grows.py
	PYTHONPATH=tests $(BIN)/python tests/agreement.py --database sqlite
	PYTHONPATH=tests $(BIN)/python tests/agreement.py --database postgresql
	PYTHONPATH=tests $(BIN)/python tests/sdk/agreement.py
	PYTHONPATH=tests $(BIN)/python tests/scale.py --database sqlite
	PYTHONPATH=tests $(BIN)/python tests/scale.py --database postgresql

canary: $(VENV)/.dev ## Look for canaries in every byte that the server leaves (some minutes)
	PYTHONPATH=tests $(BIN)/python tests/privacy/canary.py --database sqlite
	PYTHONPATH=tests $(BIN)/python tests/privacy/canary.py --database postgresql

stolen: $(VENV)/.dev ## Steal databases and try to name the people in them (an hour)
	PYTHONPATH=tests $(BIN)/python tests/privacy/stolen.py --database sqlite
	PYTHONPATH=tests $(BIN)/python tests/privacy/stolen.py --database postgresql

outbox-kills: $(VENV)/.dev ## Kill the SDK's outbox 10,000 times and look at what is left (some minutes)
	PYTHONPATH=tests $(BIN)/python tests/sdk/kills.py

outbox-chaos: $(VENV)/.dev ## Send 200,000 check-ins through a network that fails (an hour)
	PYTHONPATH=tests $(BIN)/python tests/sdk/chaos_proxy.py

sdk-bars: $(VENV)/.dev ## Measure the SDK: import, start to durable, withdrawal to no byte, wheel
	PYTHONPATH=tests $(BIN)/python tests/sdk/bars.py

constraints: $(VENV)/.dev ## Pin the dependencies anew
	$(PIP) install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header \
	  --no-annotate --all-extras --no-emit-package doorstep --no-emit-package doorstep-server \
	  pyproject.toml sdk/pyproject.toml -o constraints.txt

clean: ## Remove the virtual environment and everything that tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Doorstep needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(SOURCES)
	$(PIP) install -q -c constraints.txt -e '.[demo]' -e ./sdk
	@touch $@

$(VENV)/.dev: $(BIN)/python $(SOURCES)
	$(PIP) install -q -c constraints.txt -e '.[dev]' -e ./sdk
	@# tests start hundreds of processes, which may not be allowed to keep what they compile
	@$(BIN)/python -m compileall -q server geofences sdk
	@touch $@ $(VENV)/.demo
