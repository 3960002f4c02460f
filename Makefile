# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
HOME_DIR ?= demo-home
MONTH ?= 2025-10
BIN := .venv/bin

.PHONY: setup demo test lint check-contract drill-ledger bench-peers bench-queries bench-ledger bench-gateway bench-router bench-router-held-out bench-reports drill drill-gateway drill-kills drill-live lock clean

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## one month of real tickets through the real gateway, and the client's report
	$(BIN)/halfpenny demo --home $(HOME_DIR) --month $(MONTH)

test: setup  ## the tests, the same that .ci/run calls
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-queries bench-ledger bench-gateway bench-reports: bench-%: setup
	$(BIN)/python -m bench.$*

bench-router: build/router/installed  ## our policy beside the others in every pool and scenario; half an hour of CPU
	build/router/bin/python -m bench.router

bench-router-held-out: build/router/installed  ## the same with other models and months; each constant halved and doubled
	build/router/bin/python -m bench.router --held-out --quick
	build/router/bin/python -m bench.router_sensitivity

build/router/installed: bench/router.txt
	$(PYTHON) -m venv build/router
	build/router/bin/python -m pip install --quiet --disable-pip-version-check -r bench/router.txt
	touch $@

bench-peers:  ## the engines bench-queries measures against, in an environment of their own
	$(PYTHON) -m venv build/peers
	build/peers/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers.txt

check-contract: setup  ## schemathesis and compatcanary against the real gateway, in an environment of their own; needs npm
	$(PYTHON) -m venv build/contract
	build/contract/bin/python -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5
	npm install --silent --no-audit --no-fund --prefix build/contract compatcanary@0.2.2
	$(BIN)/python -m bench.contract

drill: setup  ## the long fault drills: kills under load, seals beside a reader, gateways that share a budget
	$(BIN)/python -m bench.drills
	$(BIN)/python -m bench.fleet_drill

drill-kills: setup  ## 500 kills of the whole service under load, in 25 homes; about an hour
	$(BIN)/python -m bench.drills --rounds 500 --seals 0 --seed 101

drill-live: setup  ## 1,000 seals and compactions beside analysts with two DuckDBs, 5,000 queries each; about half an hour
	for version in 1.5.6 2.0.0; do \
	  $(PYTHON) -m venv build/duckdb-$$version && \
	  build/duckdb-$$version/bin/python -m pip install --quiet --disable-pip-version-check duckdb==$$version || exit 1; \
	done
	$(BIN)/python -m bench.drills --rounds 0 --seals 1000 --queries 5000 --at-once 1 --pause 0.2 --rotate-events 10 \
	  --reader build/duckdb-1.5.6/bin/python --reader build/duckdb-2.0.0/bin/python

drill-gateway: setup  ## races, disconnects, failures, cut streams, 100,000 calls against the bill, overload; about an hour
	$(BIN)/python -m bench.gateway_drills

drill-ledger: setup  ## a million power cuts, 10,000 kills, every failing system call; about an hour
	$(BIN)/python -m bench.ledger_drills
	$(BIN)/python -m tests.home_flips
	$(BIN)/python -m tests.planted_bugs

lock:  ## make requirements.lock anew; needs pip-tools
	$(PYTHON) -m piptools compile --quiet --generate-hashes --all-extras --strip-extras --allow-unsafe \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --no-annotate \
	  --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv $(HOME_DIR)
