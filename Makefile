# Everything that people do with makoredis by hand; `make help` lists it.
#
# `make setup` creates .venv once, from the fastest Python on the PATH (PYTHON= for another). A stamp file remembers
# that, so it costs nothing until pyproject.toml changes.

VENV := .venv
RUN := $(VENV)/bin/python
PORT ?= 6380
DIR ?= ./makoredis-data
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test test-long check format docs bench sim chaos clean

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Creates .venv with everything that running and testing needs

$(VENV)/.ready: pyproject.toml
	@test -x $(RUN) || PYTHON="$(PYTHON)" sh tools/make_venv.sh $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	@touch $@

run: setup ## Serves on 127.0.0.1:6380 with data in ./makoredis-data (PORT=, DIR=, ARGS=)
	@exec $(RUN) -m makoredis --port $(PORT) --dir $(DIR) $(ARGS)

test: setup ## Runs the tests, in about a quarter of an hour
	$(RUN) -m pytest $(ARGS)

test-long: setup ## Runs the soak tests too: many crashes, a million keys
	$(RUN) -m pytest -m 'long or not long' $(ARGS)

check: $(VENV)/.ready-dev ## Lints and type-checks
	$(RUN) -m ruff check .
	$(RUN) -m mypy makoredis resp

format: $(VENV)/.ready-dev ## Sorts imports and applies the linter's safe fixes
	$(RUN) -m ruff check --fix .

docs: setup ## Writes the generated pages of docs/ anew
	$(RUN) -m tools.gen_commands
	$(RUN) -m tools.gen_configuration

bench: setup ## Measures side by side with a real redis-server
	$(RUN) -m tools.bench $(ARGS)

sim: setup ## Runs thousands of simulated clusters with random faults, or SEED= again (ARGS='--kind cluster')
	$(RUN) -m tests.sim.run $(if $(SEED),--seed $(SEED),--seeds 3000) $(ARGS)

chaos: setup ## Kills, stops and cuts off real nodes for ten minutes (ARGS='shards --seconds N')
	$(RUN) -m tools.chaos $(ARGS)

clean: ## Removes .venv and caches; data is left alone
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
