# make demo: set up and run the built-in demo to a report.   make test: all tests.
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || echo 2)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo test lint bench lock clean

setup: .venv/ready

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: setup
	@snakemake --cores $(CORES)
	@feel-steps summary results/demo

test: setup
	pytest

lint: setup
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint

bench: setup
	for benchmark in benchmarks/*.py; do python $$benchmark || exit 1; done

lock:  # torch first and exact: pip would otherwise take its newest build
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet torch==2.13.0
	.lock/bin/python -m pip install --quiet --editable '.[dev,slurm]'
	.lock/bin/python envs/pin.py
	rm -rf .lock

clean:
	rm -rf results .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis build ./*.egg-info
