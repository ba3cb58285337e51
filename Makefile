# What can be done here, on a machine with Python 3.11+ and make. Each target installs what it needs into .venv, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := -m pip --disable-pip-version-check --quiet install
# By a path, not by a finder: a program in the folder that holds this clone would import the clone's folder otherwise.
EDITABLE := --config-settings editable_mode=compat --editable

# Peers to compare with, in environments of their own: numbers, and the official SDK in two versions.
PEERS := .venv-peers
SDK38 := .venv-peer38
SDK15 := .venv-peer15
# The official SDK by itself, to be measured: it loads torch where there is one, which costs it time and memory.
BENCH38 := .venv-bench38
TORCH := torch==2.13.0

# Most tests wait for sockets and processes, so there may be more of them at a time than cores. pytest's status 5 means
# that ARGS names no test of this half.
TESTED_AT_ONCE := 3

# The ends of what pyproject.toml allows of pykka, in folders that are put before .venv's own, and what is run with them.
PYKKA_OLDEST := pykka==4.0.0
PYKKA_NEWEST := pykka>=4.0,<5
OLDEST := .pykka-oldest
NEWEST := .pykka-newest
PYKKA_TESTS := tests/runtime/test_pykka_internals.py tests/runtime/test_actor.py tests/runtime/test_host_actors.py \
	tests/runtime/test_futures.py tests/runtime/test_derived.py tests/clients/test_proxies.py tests/actors/lane/test_keeper.py

# What a run leaves: a summary, pictures and a page, which are kept here; every figure of every round, which is not.
KEEP_RESULTS := --summary docs/benchmarks/summary.json --pictures docs/benchmarks --results docs/benchmarks/results.md \
	--json build/benchmarks/figures.json

.PHONY: help demo test test-peers test-pykka check bench soak chaos fmt serve clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed ## watch a model being fine-tuned and sampled; ARGS="--steps 300" passes options
	@$(BIN)/tinker-actors demo $(ARGS)

serve: $(VENV)/installed ## run the embedded server until Ctrl-C; ARGS="--port 9000" passes options
	@$(BIN)/tinker-actors serve $(ARGS)

test: export PYTHONDONTWRITEBYTECODE = # what was compiled once is loaded by every process
test: $(VENV)/installed-dev ## run every test; ARGS="tests/protocol -x" passes options, ARGS="-m 'not slow'" leaves out what takes long
	$(BIN)/python -m pytest -n $(TESTED_AT_ONCE) --dist loadfile --no-loadscope-reorder --alone without $(ARGS) || [ $$? = 5 ]
	$(BIN)/python -m pytest --alone only $(ARGS) || [ $$? = 5 ]

test-peers: $(PEERS)/installed $(SDK38)/installed $(SDK15)/installed ## compare with PyTorch, transformers, peft and the official SDK
	PEER_SDK_38=$(SDK38)/bin/python PEER_SDK_15=$(SDK15)/bin/python \
		$(PEERS)/bin/python -m pytest tests/peers --ignore tests/peers/test_protobuf_sdk.py $(ARGS)
	$(SDK38)/bin/python -m pytest tests/peers/test_protobuf_sdk.py

test-pykka: $(OLDEST)/installed $(VENV)/installed-dev ## the actors' tests with the oldest and the newest pykka allowed
	@$(BIN)/python $(PIP_INSTALL) --no-deps --upgrade --target $(NEWEST) '$(PYKKA_NEWEST)'
	for folder in $(OLDEST) $(NEWEST); do \
		PYTHONPATH=$(CURDIR)/$$folder $(BIN)/python -c 'import importlib.metadata as m, pykka; print(m.version("pykka"), pykka.__file__)' && \
		PYTHONPATH=$(CURDIR)/$$folder $(BIN)/python -m pytest -q $(PYKKA_TESTS) $(ARGS) || exit 1; \
	done

check: $(VENV)/installed-dev ## format, lint, types of the package and of programs that use it, architecture
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m tests.typing.completeness
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(VENV)/installed-bench $(BENCH38)/installed ## all benchmarks, beside the official SDK (an hour or more); ARGS="sampling --quick"
	$(BIN)/python -m benchmarks --official-python $(BENCH38)/bin/python $(KEEP_RESULTS) --check $(ARGS)

soak: $(VENV)/installed-bench ## samples on a bad network for MINUTES=3: nothing may grow, nothing may be lost
	$(BIN)/python -m benchmarks soak --minutes $(or $(MINUTES),3) $(KEEP_RESULTS) --check $(ARGS)

chaos: $(VENV)/installed-dev ## 5,000 samples and 300 steps under every fault at 3 %; ARGS="--samples 500 --steps 30"
	$(BIN)/python -m benchmarks.chaos $(ARGS)

fmt: $(VENV)/installed-dev ## format, and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## remove the environment and everything the tools left behind
	rm -rf $(VENV) $(PEERS) $(SDK38) $(SDK15) $(BENCH38) $(OLDEST) $(NEWEST) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find tinker_actors tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The files below say what is in an environment: each is written last, so that an interrupted installation begins anew.

$(VENV)/created $(PEERS)/created $(SDK38)/created $(SDK15)/created $(BENCH38)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, and $(PYTHON) is older: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Creating $(@D) ..."
	@$(PYTHON) -m venv --clear $(@D)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml
	@echo "Installing tinker-actors[local,cli] into $(VENV) ..."
	@$(BIN)/python $(PIP_INSTALL) $(EDITABLE) '.[local,cli]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/created pyproject.toml
	@echo "Installing tinker-actors[local,cli,dev] into $(VENV) ..."
	@$(BIN)/python $(PIP_INSTALL) $(EDITABLE) '.[local,cli,dev]'
	@touch $(VENV)/installed $@

$(OLDEST)/installed: $(VENV)/created Makefile
	@$(BIN)/python $(PIP_INSTALL) --no-deps --upgrade --target $(OLDEST) '$(PYKKA_OLDEST)'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed-dev
	@echo "Installing what draws pictures into $(VENV) ..."
	@$(BIN)/python $(PIP_INSTALL) $(EDITABLE) '.[bench]'
	@touch $@

$(BENCH38)/installed: $(BENCH38)/created
	@echo "Installing tinker 0.38 by itself into $(BENCH38) ..."
	@$(BENCH38)/bin/python $(PIP_INSTALL) tinker==0.38.0
	@touch $@

# torch goes first everywhere: what needs it would bring another build of it.

$(PEERS)/installed: $(PEERS)/created pyproject.toml tests/peers/requirements.txt
	@echo "Installing tinker-actors[local,dev] and its peers into $(PEERS) ..."
	@$(PEERS)/bin/python $(PIP_INSTALL) $(TORCH)
	@$(PEERS)/bin/python $(PIP_INSTALL) $(EDITABLE) '.[local,dev]' --requirement tests/peers/requirements.txt
	@touch $@

$(SDK38)/installed: $(SDK38)/created pyproject.toml
	@echo "Installing tinker 0.38 and tinker-actors[local] into $(SDK38) ..."
	@$(SDK38)/bin/python $(PIP_INSTALL) $(TORCH) numpy
	@$(SDK38)/bin/python $(PIP_INSTALL) tinker==0.38.0 'pytest>=8.2' $(EDITABLE) '.[local]'
	@touch $@

$(SDK15)/installed: $(SDK15)/created
	@echo "Installing tinker 0.15 into $(SDK15) ..."
	@$(SDK15)/bin/python $(PIP_INSTALL) $(TORCH) numpy
	@$(SDK15)/bin/python $(PIP_INSTALL) tinker==0.15.0
	@touch $@
