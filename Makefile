# make demo   a sweep on generated data, tracked, its best encoder exported and scored;
#             on real data: make demo DATA=path/to/utd_mhad. Interrupted, it goes on.
# make shell  a shell with the commands c2vl, c2vl-sweep and c2vl-cluster on its path
# make ui     MLflow's pages on the demo's store, at http://127.0.0.1:5000
# make test   the tests, without the slow ones;  make lint   ruff, mypy, import-linter, manifests
# make bench  speed, side by side with plain implementations
# make bench-gpu  tests and step rates on a GPU, where there is one
# make contracts-newest   tests of what we use beyond the public interfaces of Ray, MLflow and Optuna,
#             against the newest releases that pyproject.toml allows; it tells, and does not fail
# make recipes   the recipes of cluster/, on what this machine has of SLURM and Prometheus
# make cluster-test   from a wheel on a laptop to a served model, over machines made of namespaces,
#             with a node, MLflow and the bucket away in between (Linux, root; some ten minutes)
# make image  the container image of cluster/image, by docker, or BUILDER=podman or buildah
# make clean  what the checks left behind; runs/ and .venv stay
#
# Each installs what it needs into .venv first, and nothing the second time.
# The lock's torch is a CUDA build of several GB on Linux. For the CPU build, name PyTorch's CPU
# index (pytorch.org, "Get started"): make demo PIP_FLAGS="--extra-index-url <that index>"

PYTHON ?= python3
PIP_FLAGS ?=
DATA ?=
PORT ?= 5000
IMAGE ?= c2vl:0.1.0
PACKAGES ?=
BUILDER ?= docker
# Files of tests side by side, in the order of tests/conftest.py: those that start Ray wait much.
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder

VENV := .venv
NEWEST := .venv-newest
BIN := $(VENV)/bin
LOCKS := requirements.lock requirements-nodeps.lock
STAMP = $(VENV)/.installed-$(shell cat $(LOCKS) pyproject.toml | cksum | cut -d ' ' -f 1)

.PHONY: install demo shell ui test lint bench bench-gpu contracts-newest recipes cluster-test image clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

install: $(STAMP)

# pip would compile on one core; where compileall fails, a package's template is no Python.
$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; install Python 3.11 or newer, or name one: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile $(PIP_FLAGS) -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --no-deps -r requirements-nodeps.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@rm -f $(VENV)/.installed-*
	@touch $@

ifeq ($(DATA),)
demo: PRESET := demo
demo: STORE := runs/stores/demo
demo: PREPARE = $(BIN)/c2vl data demo $(STORE)
else
demo: PRESET := utd_mhad
demo: STORE := runs/stores/utd_mhad
demo: PREPARE = $(BIN)/c2vl data prepare utd-mhad $(DATA) $(STORE)
endif

demo: install
	$(PREPARE)
	$(BIN)/c2vl prompts kinematic $(STORE) $(STORE)/language
	@if test -f runs/sweeps/$(PRESET)/sweep.yaml; then \
	  echo "$(BIN)/c2vl-sweep resume $(PRESET)"; $(BIN)/c2vl-sweep resume $(PRESET); \
	else \
	  echo "$(BIN)/c2vl-sweep run sweeps/presets/$(PRESET).yaml"; \
	  $(BIN)/c2vl-sweep run sweeps/presets/$(PRESET).yaml; \
	fi
	@echo "MLflow's pages on it: make ui. The commands of README, in this shell: . $(BIN)/activate"

shell: install
	@PATH="$(CURDIR)/$(BIN):$$PATH" $${SHELL:-/bin/sh}

ui: install
	@test -f runs/mlflow.db || { echo "make: no sweep has run yet: make demo"; exit 2; }
	@$(BIN)/python -c "import socket; socket.create_server(('127.0.0.1', $(PORT)))" 2>/dev/null \
	  || { echo "make: port $(PORT) is taken: make ui PORT=5001, or another that is free"; exit 2; }
	@echo "MLflow: http://127.0.0.1:$(PORT). Choose \"Model training\" at its upper left once: it opens on pages for language models"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host 127.0.0.1 --port $(PORT) --workers 1 --backend-store-uri sqlite:///runs/mlflow.db

test: install
	$(BIN)/python -m pytest -m "not slow" --durations 40 --durations-min 8 $(PARALLEL) $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.cluster.recipes.manifests
	$(BIN)/hadolint cluster/image/Dockerfile
	$(BIN)/shellcheck --severity=warning cluster/slurm/sweep.sbatch

bench: install
	$(BIN)/python -m pytest tests/benchmarks -m "slow or not slow" -s $(ARGS)

bench-gpu: install
	$(BIN)/python -m pytest tests/gpu -m gpu -s $(ARGS)

# Torch stays at the installed release, so that pip fetches no other build of it.
contracts-newest: install
	test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	$(BIN)/python -c 'from importlib.metadata import version as v; print("torch==" + v("torch").split("+")[0])' > $(NEWEST)/constraints.txt
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager $(PIP_FLAGS) -c $(NEWEST)/constraints.txt '.[dev]'
	@$(BIN)/python -m pip freeze > $(NEWEST)/locked.txt
	@$(NEWEST)/bin/python -m pip freeze > $(NEWEST)/newest.txt
	@echo "locked (-) and newest (+):"; diff -U 0 $(NEWEST)/locked.txt $(NEWEST)/newest.txt | grep -E '^[-+](ray|mlflow|optuna)==' || echo "Ray, MLflow and Optuna are the same"
	-PYTHONPATH=. $(NEWEST)/bin/python -m pytest -q $(shell find tests -name 'test_*_internals.py') $(ARGS)

recipes: install
	$(BIN)/python -m pytest tests/cluster/recipes -m "slow or not slow" -s $(ARGS)

cluster-test: install
	PYTHONPATH=. $(BIN)/python -W ignore -m tests.cluster.three_machines

image: install
	rm -rf dist && $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation -w dist .
	$(BUILDER) build -f cluster/image/Dockerfile --build-arg PIP_FLAGS="$(PIP_FLAGS)" --build-arg PACKAGES="$(PACKAGES)" -t $(IMAGE) .

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find c2vl sweeps cluster tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
