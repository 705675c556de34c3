# Everything runs in a virtual environment that these targets make themselves; Python 3.11+ and make are enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: help quickstart test lint types clean
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# One stamp a set of extras, renewed when pyproject.toml changes.
$(VENV)/.%: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "Installing beam-zerobus[$*] into $(VENV) ..."
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[$*]'
	@touch $@

quickstart: $(VENV)/.quickstart ## 336,776 flights through Beam into a local Delta table
	@$(BIN)/python -m pipelines.quickstart

test: $(VENV)/.dev lint types ## Lint, types and the whole suite
	$(PYTEST)

lint: $(VENV)/.dev ## Ruff, code and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
