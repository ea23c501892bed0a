# make demo: set up and run the built-in demo to a report.   make check: lint and fast tests.   make test: all tests.   make docs: the site, in site/.
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || echo 2)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo resume check test lint docs bench audit lock dist clean

setup: .venv/ready

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable .  # and torch, see envs/pin.py
	touch $@

demo: setup
	@snakemake --cores $(CORES)
	@feel-steps summary results/demo

# After anything that broke a run, when nothing of it is alive: see docs/explanation/reliability.md.
resume: RUN ?= results/demo
resume: setup
	@snakemake --unlock --cores $(CORES) $(ARGS)
	@find $(RUN) -newermt now -exec touch {} +
	@feel-steps verify $(RUN) --delete
	@snakemake --cores $(CORES) $(ARGS)

check: lint  # about two minutes on two cores
	pytest -m "unit and not slow"

test: setup
	pytest

lint: setup
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules studies/Snakefile
	mypy
	snakemake --lint

docs: setup
	python docs/make_reference.py
	mkdocs build --quiet

bench: setup
	for benchmark in benchmarks/*.py; do python $$benchmark || exit 1; done

audit:  # known vulnerabilities of all that is pinned with hashes; asks a service on the network
	rm -rf .audit && $(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock

lock:
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	PATH="$(CURDIR)/.lock/bin:$$PATH" python envs/pin.py
	rm -rf .lock

dist:  # the sdist, and the wheel that is built from it
	rm -rf dist .dist && $(PYTHON) -m venv .dist
	.dist/bin/python -m pip install --quiet --disable-pip-version-check build twine
	.dist/bin/python -m build
	.dist/bin/python -m twine check --strict dist/*
	rm -rf .dist

clean:
	rm -rf results .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site ./*.egg-info
