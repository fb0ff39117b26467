# Each target does its own set-up: on a fresh machine `make demo` or `make test` is all there is to type.
# What it needs: Python 3.11 or later with venv, and make.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)

.PHONY: demo test check format lint types imports format-check benchmark browser install-pipeline install-model clean

demo: $(READY)
	$(BIN)/hdrprep demo $(DEMO)

# Files of tests side by side: what a module sets up, it sets up once.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# What CI runs.
check: format-check lint types imports test

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

format-check: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

benchmark: $(READY)
	$(BIN)/python benchmarks/camera_and_score.py
	$(BIN)/python benchmarks/reader.py
	$(BIN)/python benchmarks/network.py

# Debian's Chromium, in which tests look at the pages; without a browser they are skipped.
browser:
	$(SUDO) apt-get update
	$(SUDO) apt-get install -y --no-install-recommends chromium

# A development environment: the checkout itself, the model and the tools.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --constraint constraints.txt --editable '.[model,dev]'
	touch $@

# The environments of the two container images: this version, installed, without and with the model.
install-pipeline:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-cache-dir --constraint constraints.txt .

install-model:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-cache-dir --constraint constraints.txt '.[model]'

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
