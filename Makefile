# make train   set up .venv and train on MNIST (or on generated digits) into runs/latest
# make test    set up .venv and run the tests
# make wheel   a wheel with compiled kernels inside, for this system, into dist; it trains without Numba
# make docs    the documentation as HTML into build/docs; ARGS="-D plot_gallery=0" does not run the examples
# make test-peers   the tests against PyTorch, in the environment of make peers
# make soak    the tests of reliability at full length, which count their cases, and all that `make test` leaves out
# Options:     PYTHON=... (3.11 or newer), VENV=..., ARGS="..." for the command that is run

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
MNIST := ../shared/data/mnist

.PHONY: train test test-peers lint docs bench peers reproduce soak wheel clean

train: $(VENV)/.installed
	$(BIN)/fastfc train --out runs/latest $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

soak: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --soak -m "promise or slow" $(ARGS)

# What needs true MNIST takes it from beside the clone, where it lies there; `make train` only when it is named.
ifeq ($(origin FASTFC_DATA_DIR), undefined)
ifneq ($(wildcard $(MNIST)),)
test soak docs bench reproduce: export FASTFC_DATA_DIR := $(abspath $(MNIST))
endif
endif

# mypy does not follow the mapping of kernels/ to fastfc.kernels in an editable install: it gets a tree laid out as
# installed. The cache stays outside, so that a second run is quick.
TYPED := build/typecheck
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	rm -rf $(TYPED) && mkdir -p $(TYPED) && cp -R fastfc $(TYPED)/fastfc && cp -R kernels $(TYPED)/fastfc/kernels
	cd $(TYPED) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p fastfc

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -n -b html -d build/doctrees docs build/docs $(ARGS)

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench.report $(ARGS)

# Other libraries to measure against, in an environment of their own.
PEERS := $(or $(FASTFC_PEERS_VENV),.venv-peers)
peers: $(PEERS)/.installed

$(PEERS)/.installed: bench/peers/requirements.txt | $(PEERS)/bin/python
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers/requirements.txt
	touch $@

# fastfc is installed anew each time: the environment may be shared by several clones.
test-peers: $(PEERS)/.installed
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e . pytest hypothesis
	$(PEERS)/bin/python -m pytest -m peer $(ARGS) tests/test_torch.py tests/test_exchange.py

reproduce: $(VENV)/.installed
	$(BIN)/fastfc reproduce --out reproduction $(ARGS)

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m tools.wheel $(ARGS)

clean:
	rm -rf $(VENV) .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A half-made environment is removed, so that the next make starts over.
%/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer needed: make PYTHON=...")'
	$(PYTHON) -m venv $* || { rm -rf $*; exit 1; }

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[plots,images]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(VENV)/.installed $@

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@
