# Everything a developer or CI runs. `make` alone lists it. Needs python3 (>= 3.11) with venv, and git.
PYTHON ?= python3
JOBS ?= 2
RELEASE ?= bookworm
BIN := .venv/bin
CODE := $(wildcard fleetd tests bench)
# A module's hosts are its own, so modules run side by side; most of their time is waiting.
HOST_TESTS = FLEETD_LAB_RELEASE=$(RELEASE) $(BIN)/pytest tests/e2e -n $(JOBS) --dist loadfile
# Set by CI, or by hand as HOSTS=1: the tests then make real hosts too, and fail where they cannot.
WITH_HOSTS := $(filter-out 0 false,$(HOSTS) $(CI))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: venv
venv: .venv/.stamp ## create or refresh .venv from the locked requirements

.venv/.stamp: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fleetd needs Python 3.11 or newer, $(PYTHON) is " + sys.version)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: fmt
fmt: .venv/.stamp ## format the code and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: format-check
format-check: .venv/.stamp
	$(BIN)/ruff format --check

.PHONY: lint
lint: .venv/.stamp ## ruff, nearly every rule
	$(BIN)/ruff check

.PHONY: types
types: .venv/.stamp ## mypy, strict
	$(BIN)/mypy $(CODE)

.PHONY: imports
imports: .venv/.stamp ## the layers: imports point down only
	$(BIN)/lint-imports --no-cache

.PHONY: shellcheck
shellcheck: .venv/.stamp ## every shell script
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/shellcheck

.PHONY: check
check: format-check lint types imports shellcheck ## all of the static checks

.PHONY: test
test: .venv/.stamp ## the tests; HOSTS=1 (as root) or CI=true adds tests/e2e on real hosts
	$(BIN)/pytest -n $(JOBS)
ifneq ($(WITH_HOSTS),)
	$(HOST_TESTS)
else
	@echo '*** NOT RUN: tests/e2e, the tests on real hosts. To run them too, as root: HOSTS=1 make test'
endif

.PHONY: e2e
e2e: .venv/.stamp ## only the tests on real hosts (as root); RELEASE=trixie: on another release
	$(HOST_TESTS)

.PHONY: soak
soak: .venv/.stamp ## half an hour of mixed faults on real hosts; build/soak.txt tells (as root)
	@rm -f build/soak.txt
	@SOAK_MINUTES=$(or $(SOAK_MINUTES),30) $(BIN)/pytest tests/e2e/test_soak.py -s; code=$$?; cat build/soak.txt; exit $$code

.PHONY: manifests
manifests: .venv/.stamp ## start MANIFESTS=DIR on real hosts, and compare what runs (as root)
	@rm -f build/manifests.txt
	@$(BIN)/pytest tests/e2e/test_manifests.py; code=$$?; cat build/manifests.txt; exit $$code

.PHONY: demo
demo: .venv/.stamp ## a fleet of simulated hosts, on this machine, in a minute
	$(BIN)/fleetd demo

.PHONY: bench
bench: .venv/.stamp ## measure, and print what was measured
	$(BIN)/python -m bench

.PHONY: lock
lock: ## resolve requirements/*.txt anew; LOCK=--upgrade takes newer versions
	@test -x .uv/bin/uv || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv; }
	$(UV_COMPILE) -o requirements/run.txt pyproject.toml
	$(UV_COMPILE) -o requirements/dev.txt -c requirements/run.txt pyproject.toml --group dev

UV_COMPILE = .uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' $(LOCK)

.PHONY: build
build: .venv/.stamp ## wheel and sdist into dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation

.PHONY: clean
clean: ## remove all that make has made
	rm -rf .venv .uv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
