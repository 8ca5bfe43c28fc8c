SHELL  := /bin/bash
PYTHON ?= python3
VENV   ?= .venv
EXTRAS ?= all
GROUP  ?= test
PIN    ?= constraints/dev.txt
BIN    := $(VENV)/bin
# The environment is made anew only if what it is made from has changed.
KEY    := $(shell cat pyproject.toml $(PIN) Makefile | cksum | cut -d' ' -f1)
STAMP  := $(VENV)/.ok-$(EXTRAS)-$(GROUP)-$(KEY)

# Local wheels that pip has been told about are shown to uv as well.
ifneq ($(strip $(PIP_FIND_LINKS)),)
empty :=
space := $(empty) $(empty)
comma := ,
export UV_FIND_LINKS := $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
endif

# Two cores of threads for tiny tensors cost more than they bring; and nothing here may reach for the network.
# Bytecode is kept even where the machine's habit is not to: dozens of processes start here, and each would compile.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 MPLBACKEND=agg PYTHONDONTWRITEBYTECODE=
PYTEST := $(TEST_ENVIRONMENT) $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

.DEFAULT_GOAL := help
.PHONY: help environment run test check bench docs gallery clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

environment: $(STAMP)  ## set up .venv with everything below (done by itself where needed)

$(STAMP):
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint $(PIN) \
	  $(if $(TORCH_BACKEND),--torch-backend=$(TORCH_BACKEND)) --editable '.[$(EXTRAS)]' --group $(GROUP)
	rm -f $(VENV)/.ok-*
	touch $@

run: $(STAMP)  ## a training that learns nothing: diagnosed, cured, and the cure proved; three minutes
	$(BIN)/python examples/demo.py

test: $(STAMP)  ## the whole test suite
	$(PYTEST) $(ARGS)

check: $(STAMP)  ## format, lint, types, import contracts, fast tests: before every commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q -m "not slow" $(ARGS)

bench: $(STAMP)  ## what watching costs on this machine
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/watching_cost.py $(ARGS)

docs: $(STAMP)  ## write the pages that are generated from the code
	$(BIN)/python docs/generate.py

gallery: $(STAMP)  ## rerun every classic in full and write docs/classics, ten minutes
	$(BIN)/isometry classic --all
	$(BIN)/python docs/gallery.py

clean:  ## remove the environment, caches and build results; runs are kept
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
