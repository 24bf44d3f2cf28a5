# `make demo` and `make test` do all their own set-up; CONTRIBUTING.md tells the rest.
SHELL := /bin/bash
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
JOBS ?= 4

.PHONY: help demo setup test chaos check format bench lock clean

help:
	@sed -n 's/^## //p' Makefile

## make demo      a three-step run on a sample repository: no key, no network
demo:
	@scripts/setup runtime
	@$(BIN)/treadle demo

## make setup     everything for development, in .venv and .tools
setup:
	@scripts/setup test

## make test      every test, with the services they need (ARGS="-k name" for some)
test: setup
	$(PYTEST) -n $(JOBS) --dist worksteal $(ARGS)

## make chaos     everything breaks for some minutes, and no run is lost (ARGS="--seed N" repeats one)
chaos: setup
	$(BIN)/python -m tests.chaos $(ARGS)

## make check     lint, format, types, layering
check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

## make format    mend what ruff can mend
format: setup
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

## make bench     the benchmarks, as ratios to a floor taken in the same run
bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

## make lock      pin the versions of requirements/*.txt anew
lock: setup
	$(BIN)/uv pip compile -q --no-header --python-version 3.11 --no-annotate pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile -q --no-header --python-version 3.11 --no-annotate --all-extras --group dev pyproject.toml -o requirements/test.txt

clean:
	rm -rf .venv .tools dist build .mypy_cache .pytest_cache .ruff_cache
