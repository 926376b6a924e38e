# What people and CI run; `make help` lists it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One process a core; the tests of a file stay together, for they share what was set up.
PYTEST = $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile
WORKSPACE ?= demo
IMAGE ?= lookalike
BASE_IMAGE ?= python:3.11-slim-bookworm

.DEFAULT_GOAL := help
.PHONY: help setup fix check test test-all bench demo serve image

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the locked dependencies; does nothing when they are there

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Python 3.11 or newer is needed; run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

fix: setup ## format, and repair what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: setup ## format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup ## the tests that need seconds
	$(PYTEST)

test-all: test ## those, then the slow ones, a browser, and damage done on purpose
	$(BIN)/python -m pytest -m milvus
	$(PYTEST) -m "(slow or browser or chaos) and not milvus"

bench: setup ## measure the way from events to a published build
	$(BIN)/python -m benchmarks

demo: setup ## simulate a platform, find its rings and evaders, serve the page
	$(BIN)/lookalike demo

serve: setup ## serve WORKSPACE (default: what the demo made)
	$(BIN)/lookalike serve --workspace $(WORKSPACE)

image: ## build the container image
	docker build --build-arg BASE_IMAGE=$(BASE_IMAGE) --tag $(IMAGE) .
