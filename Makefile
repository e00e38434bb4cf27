# Everything a fresh machine needs is Python 3.11+ with venv, and a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
# Three workers for two cores (tests/conftest.py). Each begins with a run of neighbouring tests, which share started services,
# and takes tests from another when it has none left.
PARALLEL ?= -n auto --dist worksteal
# The tests start hundreds of programs, each of which would compile the gateway again.
unexport PYTHONDONTWRITEBYTECODE
# Extras stay in the names: else pip takes a newer release for `name[extra]`, and refuses it for want of a hash.
COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.PHONY: help run test unit lint types policy bench core docs generate lock audit tools clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start everything, embedded, to try it (ARGS=--once for the scripted tour)
	@$(BIN)/opagate up $(ARGS)

test: $(VENV)/.test tools ## the whole test suite, on all cores
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

unit: $(VENV)/.test ## the unit tests alone, on all cores
	@$(BIN)/python -m pytest $(PARALLEL) tests/unit $(ARGS)

lint: $(VENV)/.lint ## ruff, and the language of texts that were touched
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python tools/prose.py

types: $(VENV)/.lint $(VENV)/.test ## pyright, strict
	@$(BIN)/pyright

policy: $(VENV)/.run tools ## opa check, fmt, test with coverage; regal
	@PATH="$(CURDIR)/.tools:$$PATH" $(BIN)/python tools/policy_checks.py

bench: $(VENV)/.test ## added latency and throughput beside peers (several minutes; needs a quiet machine)
	@$(BIN)/python -m benchmarks $(ARGS)

core: $(VENV)/.run ## the native core, an option, built by cargo (ARGS=--uninstall removes it)
	@$(BIN)/python tools/build_core.py $(ARGS)

generate: $(VENV)/.run ## everything that is generated from the code: schemas, reason table, reference pages
	@$(BIN)/python tools/generate.py $(ARGS)

tools: ## a real OPA and Regal (needs Go), Node packages (npm) and Keycloak (Java) into .tools/
	@$(PYTHON) tools/install.py

lock: $(VENV)/.lock ## resolve the dependencies again, with hashes, and refresh docs/dependencies.md
	@$(COMPILE) pyproject.toml -o requirements/run.txt
	@$(COMPILE) pyproject.toml --extra opa -c requirements/run.txt -o requirements/opa.txt
	@$(COMPILE) pyproject.toml --extra opa --extra aws -c requirements/opa.txt -o requirements/aws.txt
	@$(COMPILE) pyproject.toml --extra opa --extra aws --extra postgresql -c requirements/aws.txt -o requirements/postgresql.txt
	@$(COMPILE) pyproject.toml --extra opa --extra aws --extra postgresql --extra passkeys -c requirements/postgresql.txt -o requirements/passkeys.txt
	@$(COMPILE) pyproject.toml --extra opa --extra aws --extra postgresql --extra passkeys --extra workers -c requirements/passkeys.txt -o requirements/workers.txt
	@$(COMPILE) pyproject.toml --extra opa --extra aws --extra postgresql --extra passkeys --extra workers --group test -c requirements/workers.txt -o requirements/test.txt
	@$(COMPILE) --group lint -o requirements/lint.txt
	@$(COMPILE) --group build -o requirements/build.txt
	@$(COMPILE) --group inventory -o requirements/inventory.txt
	@$(BIN)/python tools/dependencies.py $(BIN)/uv

audit: $(VENV)/.lock ## known vulnerabilities of the locked dependencies (asks PyPI; without its data it fails)
	@$(BIN)/uv tool run pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements/workers.txt

clean: ## forget the virtual environment and the downloaded tools
	rm -rf $(VENV) .tools state

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "opagate needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing locked dependencies into $(VENV)"
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/test.txt
	@touch $@

$(VENV)/.lint: requirements/lint.txt | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/lint.txt
	@touch $@

$(VENV)/.lock: | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q uv
	@touch $@
