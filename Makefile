# Everything runs in a virtual environment that these targets make themselves; Python 3.11+ and make are enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Without bytecode on disk, each worker and each process of a test would compile Beam again.
unexport PYTHONDONTWRITEBYTECODE
QUIET  := $(if $(MAKE_TERMERR),,--quiet) # on a terminal, uv shows how far it is

.PHONY: help quickstart first-hour test lint types chaos bench docs clean
.PHONY: soak test-hostile test-pythons test-page test-contract test-sdks test-flink test-prism test-java test-go test-kafka test-dataflow test-languages
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# One stamp a set of extras, renewed when pyproject.toml changes.
$(VENV)/.%: pyproject.toml
	@test -x $(BIN)/python || { echo "1/3 Making the virtual environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@test -x $(BIN)/uv || { echo "2/3 Installing uv, which installs the rest"; $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	@echo "3/3 Installing beam-zerobus[$*] and what it needs into $(VENV)"
	@UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 $(BIN)/uv pip install $(QUIET) --python $(BIN)/python --editable '.[$*]'
	@touch $@

quickstart: $(VENV)/.quickstart ## 336,776 flights through Beam into a local Delta table
	@$(BIN)/python -m pipelines.quickstart

first-hour: ## A user's first hour from the docs' own blocks, in a fresh clone (needs git)
	@$(PYTHON) tests/first_hour.py

test: $(VENV)/.dev ## Lint, types and the whole suite
	@$(MAKE) --no-print-directory -j2 $(VENV)/.compiled types lint
	$(PYTEST) -n 4 --dist worksteal

# In a new environment, each of the four workers would compile Beam and all else; one process does so, beside mypy.
$(VENV)/.compiled: $(VENV)/.dev
	@$(PYTEST) --collect-only -qq >$(VENV)/.compiled.log 2>&1 || true # the suite reports what is wrong
	@touch $@

lint: $(VENV)/.dev ## Ruff, code and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

chaos: $(VENV)/.test ## Random faults against the writer; SECONDS=12 a case, BATCHES=30000, SEED=1
	CHAOS_SECONDS=$(or $(SECONDS),12) CHAOS_BATCHES=$(or $(BATCHES),30000) CHAOS_SEED=$(or $(SEED),1) $(PYTEST) tests/chaos -m chaos

test-hostile: $(VENV)/.test ## Ends of processes, kills and slow faults; the quick hostile tests are in make test
	$(PYTEST) -n 4 --dist worksteal -m hostile

soak: $(VENV)/.test ## 10,000 writers opened and closed, 1,000 dropped, an emulator killed 50 times; CYCLES=10000 KILLS=25
	SOAK_CYCLES=$(or $(CYCLES),10000) SOAK_KILLS=$(or $(KILLS),25) $(PYTEST) tests/hostile/test_soak.py tests/emulator/test_kills.py -m hostile

test-pythons: $(VENV)/.test ## Parts of the suite on each newer Python that uv or pyenv has here; PYTHONS="3.12 3.13" demands them
	@UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 $(BIN)/python -m tests.pythons

test-contract: $(VENV)/.test ## What the SDK says, with the oldest and the newest version allowed
	$(BIN)/python -m tests.delivery.sdk_matrix

test-sdks: $(VENV)/.test ## Clients in five languages against the emulator, and its image (needs Java 17, Maven, Node, Go, Cargo); RUST=1, WITHOUT=java
	$(BIN)/python -m tests.sdks
	$(PYTEST) tests/sdks -m sdks

test-flink: $(VENV)/.test ## A real Flink cluster: batch, killed workers, checkpoints (needs Java 17, Maven, Go)
	$(PYTEST) tests/runners/flink -m flink

test-prism: $(VENV)/.test ## Prism, built from Go (needs Go)
	@$(BIN)/python -m tests.runners.go_programs
	$(PYTEST) tests/runners tests/pipelines -m prism

test-java: $(VENV)/.test ## A Java pipeline through the expansion service (needs Java 17, Maven)
	$(PYTEST) tests/runners/java -m java

test-go: $(VENV)/.test ## A Go pipeline through the expansion service (needs Go)
	$(PYTEST) tests/runners/go -m go

test-kafka: $(VENV)/.test ## A real Kafka broker into Delta tables (needs Java 17, Maven, Go)
	@$(BIN)/python -m tests.runners.go_programs
	$(PYTEST) tests/pipelines -m kafka

test-languages: $(VENV)/.test ## The gateway's clients in Rust, Go and Java (needs Cargo, Go, Java 17, Maven); WITHOUT=rust
	$(PYTEST) tests/languages -m languages $(if $(WITHOUT),-k 'not $(WITHOUT)')

test-dataflow: $(VENV)/.test ## The steps of Dataflow's image, and the job that it would submit
	$(PYTEST) tests/runners -m dataflow

test-page: $(VENV)/.browser ## The emulator's page in Chromium, which root gets from Debian; CHROMIUM=1 demands it (needs Chromium)
	@$(BIN)/python -m tests.emulator.chromium
	$(PYTEST) tests/emulator -m browser

bench: $(VENV)/.bench ## The benchmarks that the README and docs/performance.md quote
	$(BIN)/python -m tests.benchmarks.encode
	$(BIN)/python -m tests.benchmarks.sink
	$(BIN)/python -m tests.benchmarks.templates
	$(BIN)/python -m tests.benchmarks.debug_files
	$(BIN)/python -m tests.benchmarks.telemetry
	$(BIN)/python -m tests.benchmarks.variant
	$(BIN)/python -m tests.benchmarks.gateway
	$(BIN)/python -m tests.benchmarks.emulator
	$(BIN)/python -m tests.benchmarks.bad_rows

docs: $(VENV)/.docs ## The documentation site, checked strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

ACTIONLINT := GOBIN=$(CURDIR)/.cache/bin go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 && \
	.cache/bin/actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
.PHONY: release-check
release-check: $(VENV)/.release ## What a release consists of, built here: wheel, sdist, SBOM, workflows
	$(BIN)/zizmor --offline --quiet --persona=pedantic .github
	@if command -v go >/dev/null; then $(ACTIONLINT); else echo "Without Go, actionlint does not check the workflows"; fi
	rm -rf dist
	UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 $(BIN)/uv build --quiet
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tests/release_check.py dist/*.whl --sbom dist/beam-zerobus.cdx.json

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) dist site .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
