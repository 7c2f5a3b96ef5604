# evercgm: `make demo` to try it, `make test` to prove it. Every target has its line in `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8400
SIMULATOR_PORT ?= $(if $(filter 0,$(PORT)),0,8401)
SRC := src tests bench
.DEFAULT_GOAL := help
.PHONY: help demo test proof bench check fix arch lock clean

help: ## show these lines
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 10

$(VENV)/run.stamp: requirements.lock requirements-build.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-build.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp requirements-test.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.lock
	@touch $@

demo: $(VENV)/run.stamp ## start everything on this machine and print one sign-in link (PORT=0: free ports)
	@$(BIN)/evercgm demo --port $(PORT) --simulator-port $(SIMULATOR_PORT)

test: $(VENV)/test.stamp ## run every test; installs a Chromium for the browser tests where it may
	@tests/e2e/find_chromium
	$(BIN)/ruff check $(SRC)
	$(BIN)/ruff format --check $(SRC)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile

proof: $(VENV)/test.stamp ## run the long tests, and other people's tools on our schema; installs those where it may
	@tests/proof/find_tools
	$(BIN)/python -m pytest -o faulthandler_timeout=0 tests/proof

bench: $(VENV)/test.stamp ## measure against the plain way of doing the same, and print one table
	$(BIN)/python -m bench.run

check: $(VENV)/test.stamp ## format, lint, types, architecture, fast tests
	$(BIN)/ruff format --check $(SRC)
	$(BIN)/ruff check $(SRC)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/core tests/provider_kit tests/simulator_kit tests/test_settings.py tests/test_logs.py

fix: $(VENV)/test.stamp ## format and mend what ruff can
	$(BIN)/ruff format $(SRC)
	$(BIN)/ruff check --fix $(SRC)

arch: $(VENV)/test.stamp ## who may import whom
	$(BIN)/lint-imports

lock: $(VENV)/run.stamp ## pin the dependencies anew, with hashes
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host -o requirements.lock pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --extra test -o requirements-test.lock pyproject.toml
	printf 'hatchling\neditables\n' | $(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements-build.lock -

clean: ## remove the virtual environment and the demo's data
	@printf 'This deletes .venv and .demo, the readings in it included. Type yes: '; read answer; [ "$$answer" = yes ]
	rm -rf $(VENV) .demo
