# Every target builds the environment that it needs in .venv; on a fresh machine `make demo` and `make test` are enough.
#   make test PYTHON=python3.12        the interpreter that .venv is made with
#   make test ARGS="-k dopri5 -x"      more arguments for the command behind the target (demo, test, test-all, bench*)

PYTHON ?= python3
WORKERS ?= auto
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.stamp
TYPED := $(wildcard nde examples benchmarks)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# One torch thread per test process: the processes share the cores already.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo demo-sde test test-all check bench bench-per-sample bench-compat bench-brownian bench-sde bench-taylor bench-operators bench-data bench-distributed bench-pinn bench-profile experiments experiments-operators docs format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(STAMP) ## Train the example on handwritten digits
	$(RUN) examples/digits.py $(ARGS)

demo-sde: $(STAMP) ## Forecast sunspots with a neural SDE, then compare penalties on a spiral
	$(RUN) examples/sde_bands.py $(ARGS)
	$(RUN) examples/spiral.py $(ARGS)

test: $(STAMP) ## Run the fast tests
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(STAMP) ## Run every test, the slow ones too
	$(PYTEST) $(ARGS)

check: $(STAMP) ## Lint, check the format and the types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy $(TYPED)

bench: $(STAMP) ## Measure against the peer libraries
	$(RUN) -m benchmarks $(ARGS)

bench-per-sample: $(STAMP) ## Measure a step size per sample, events and implicit steps
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.per_sample $(ARGS)

bench-compat: $(STAMP) ## Measure torchdiffeq's interface on nde against torchdiffeq
	$(RUN) -m benchmarks.compat $(ARGS)

bench-sde: $(STAMP) ## Measure stochastic solves against torchsde
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.sde $(ARGS)
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.sde_adaptive $(ARGS)
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.sde_training $(ARGS)

bench-distributed: $(STAMP) ## Measure a training step in one process and in two, beside the cost model
	$(RUN) -m benchmarks.distributed $(ARGS)

bench-pinn: $(STAMP) ## Measure training steps of physics-informed networks, up to a million dimensions
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.pinn $(ARGS)

bench-profile: $(STAMP) ## Measure what recording solves costs, and whether advice holds what it promises
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.profile $(ARGS)

bench-brownian: $(STAMP) ## Measure Brownian paths against torchsde and torch.randn
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.brownian $(ARGS)

bench-operators: $(STAMP) ## Measure neural operators; ARGS="--peer PYTHON" adds neuraloperator
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.operators $(ARGS)

bench-taylor: $(STAMP) ## Measure Taylor mode and differential operators against nested differentiation
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.taylor $(ARGS)
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.taylor_operators biharmonic equations dimensions costs variances

# One torch thread per run: the runs share the cores already.
bench-data: $(STAMP) ## Measure what a sample of each data generator costs
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.data $(ARGS)

experiments: $(STAMP) ## Compare penalties in training and write the page of the documentation about it
	OMP_NUM_THREADS=1 $(RUN) -m examples.regularization all $(ARGS)
	OMP_NUM_THREADS=1 $(RUN) -m examples.regularization report $(ARGS)

experiments-operators: $(STAMP) ## Compare neural operators and write the page of the documentation about it
	OMP_NUM_THREADS=1 $(RUN) -m examples.operators.compare all $(ARGS)
	OMP_NUM_THREADS=1 $(RUN) -m examples.operators.rollout --seeds 2
	OMP_NUM_THREADS=1 $(RUN) -m examples.operators.compare report $(ARGS)

docs: $(STAMP) ## Build the documentation into site/
	$(RUN) -m mkdocs build --strict

format: $(STAMP) ## Format the code and repair what the linter can repair
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

clean: ## Remove the environment, the caches and the build outputs
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find nde tests examples benchmarks -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The stamp is written last and says where, and with which interpreter, the environment was made. Without it, or where it
# says something else (half made, moved, another PYTHON), the environment is made anew; where only pyproject.toml or
# constraints.txt is newer, it is brought up to date in place.
MADE_FOR := $(CURDIR) $(PYTHON)
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(MADE_FOR))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	    echo "error: there is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: nde needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	         "Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@if [ "$$(cat $@ 2>/dev/null)" != "$(MADE_FOR)" ] || ! $(RUN) -c '' 2>/dev/null; then \
	    echo "Making $(VENV) (a minute or two; longer where torch has to be downloaded) ..."; \
	    rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); \
	else \
	    echo "Bringing $(VENV) up to date ..."; rm -f $@; \
	fi
	@$(RUN) -m pip install --quiet --constraint constraints.txt hatchling
	@$(RUN) -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@printf '%s\n' "$(MADE_FOR)" > $@
