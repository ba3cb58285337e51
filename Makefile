# What can be done here, on a machine with Python 3.11+ and make. Each target installs what it needs into .venv, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test check bench fmt serve clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed ## watch a model being fine-tuned and sampled; ARGS="--steps 300" passes options
	@$(BIN)/tinker-actors demo $(ARGS)

serve: $(VENV)/installed ## run the embedded server until Ctrl-C; ARGS="--port 9000" passes options
	@$(BIN)/tinker-actors serve $(ARGS)

test: $(VENV)/installed-dev ## run every test; ARGS="tests/protocol -x" passes options
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/installed-dev ## format, lint, types, architecture
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(VENV)/installed-dev ## client CPU per 1,000 samples, beside plain urllib3
	$(BIN)/python -m benchmarks $(ARGS)

fmt: $(VENV)/installed-dev ## format, and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## remove the environment and everything the tools left behind
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find tinker_actors tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The three files below say what is in .venv: each is written last, so that an interrupted installation begins anew.

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, and $(PYTHON) is older: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml
	@echo "Installing tinker-actors[local,cli] into $(VENV) ..."
	@$(PIP) install --editable '.[local,cli]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/created pyproject.toml
	@echo "Installing tinker-actors[local,cli,dev] into $(VENV) ..."
	@$(PIP) install --editable '.[local,cli,dev]'
	@touch $(VENV)/installed $@
