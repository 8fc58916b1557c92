# Every target works alone in a fresh clone: it makes its own environment in .venv from a lock file, once, and needs
# nothing but Python, make and a package registry.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-installed
DEV_STAMP := $(VENV)/.dev-installed

export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint docs bench lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "PYTHON=python3.12 in front chooses the interpreter that $(VENV) is made with (3.11 or later)."

# $(call install,NAME,LOCK): .venv, the pinned requirements (the build backend among them), then the package in place.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), but deepbures needs Python 3.11 or later:" \
	        "name one with make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@set -e; start=$$(date +%s); \
	echo "Installing requirements/$(2) into $(VENV) (once; a few hundred megabytes) ..."; \
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV); \
	$(BIN)/python -m pip install --quiet --no-input -r requirements/$(2); \
	$(BIN)/python -m pip install --quiet --no-input --no-deps --no-build-isolation -e .; \
	touch $(1); \
	echo "Installed in $$(( $$(date +%s) - start )) s."
endef

$(RUN_STAMP): requirements/run.lock pyproject.toml
	$(call install,$@,run.lock)

# All that the demo needs is in the larger lock too.
$(DEV_STAMP): requirements/dev.lock pyproject.toml
	$(call install,$(RUN_STAMP) $@,dev.lock)

demo: $(RUN_STAMP)  ## the main job: fit the digits by gradient flow, write runs/digits with a report
	@set -e; start=$$(date +%s); \
	$(BIN)/deepbures fit digits --rank 16 --depth 3 --out runs/digits --solver flow --overwrite; \
	echo "Run in $$(( $$(date +%s) - start )) s."

test: $(DEV_STAMP)  ## all checks: linter, format, types, import contracts, docs, then the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(DEV_STAMP)  ## only linter, format, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(DEV_STAMP)  ## the documentation, as pages in site/
	$(BIN)/mkdocs build --strict
	@echo "Open site/index.html"

bench: $(DEV_STAMP)  ## timings, one script after the other
	@set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

LOCK := $(BIN)/uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 \
    --fork-strategy fewest --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
    pyproject.toml requirements/build.in

lock: $(DEV_STAMP)  ## pin the newest versions that fit pyproject.toml into requirements/*.lock
	$(LOCK) --extra plot --extra data --output-file requirements/run.lock
	$(LOCK) --extra plot --extra data --extra sklearn --extra torch --extra docs --extra dev \
	    --constraint requirements/run.lock --constraint requirements/torch.in --output-file requirements/dev.lock
	sed -i -E '/^(nvidia-|cuda-|triton==)/d' requirements/dev.lock

clean:  ## remove environment, caches and built pages (not runs/, which may hold models)
	rm -rf $(VENV) site build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
