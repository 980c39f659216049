PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# exactly the packages that the lock files name, by their hashes; else the newest that pyproject.toml allows
LOCKED ?= $(CI)
LOCKS := requirements/build.lock requirements/dev.lock
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url

# Writing the kernel's table needs root and a kernel with IPVS; without them the node only logs its operations.
NOOP = $(shell [ "$$(id -u)" = 0 ] && [ -e /proc/net/ip_vs ] || echo --noop)

# It is built for a few versions of Python only; without it a slower fuzzer of our own does the work.
ATHERIS = $(BIN)/python -m pip install --quiet --group fuzz || echo 'without atheris: fuzzing is slower'

.DEFAULT_GOAL := help
.PHONY: help run check test test-long soak sim sim-mutants fuzz fuzz-mutants mutation lock sbom audit lint format bench clean

help: ## list the targets
	@echo 'make TARGET [ARGS="…"] [PYTHON=python3.13]'
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15

$(STAMP): pyproject.toml $(LOCKS)
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("clusterf needs Python 3.11 or newer, and $(PYTHON) is %d.%d: try make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
ifneq ($(LOCKED),)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/build.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-build-isolation --requirement requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
else
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group test --group lint --editable .
endif
	@touch $@

run: $(STAMP) ## run a node on configs/example; without root or IPVS it writes nothing
	@# not in the clone, which may be another user's, or shared with a group
	@run=$$(mktemp -d) && trap 'rm -rf "$$run"' EXIT INT TERM && \
	$(BIN)/python configs/demo/run.py $(BIN)/clusterf-node --role ipvs --config-source 'file://$(CURDIR)/configs/example' --print $(NOOP) \
		--state-dir "$$run/state" --runtime-dir "$$run/runtime" $(ARGS)

check: lint ## lint, then the fast tests (ARGS: for pytest)
	tests/run --fast $(ARGS)

test: lint ## lint, then all tests; those of IPVS in a kernel of their own (ARGS: for pytest)
	tests/run $(ARGS)

test-long: $(STAMP) ## the tests that take minutes each (ARGS: for pytest)
	tests/run --long $(ARGS)

soak: $(STAMP) ## faults, edits, traffic and containers on real nodes, 2 x 30 minutes (SECONDS, SEED), then fuzzing
	tests/soak/run --keep .run/soak.json $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)
	tests/soak/hosts/run $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))
	@$(ATHERIS)
	$(BIN)/python -m tests.fuzz.main --seconds 60

fuzz: $(STAMP) ## give decoders hostile bytes, SECONDS=60 each, or one TARGET; minimise what breaks a promise
	@$(ATHERIS)
	$(BIN)/python -m tests.fuzz.main --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(TARGET) $(ARGS)

fuzz-mutants: $(STAMP) ## put a bug into each decoder, and show that its fuzzer finds it
	@$(ATHERIS)
	$(BIN)/python -m tests.fuzz.mutants $(TARGET)

mutation: $(STAMP) ## change the code in thousands of ways, and see whether tests notice (MODULE: one module)
	$(BIN)/python -m pip install --quiet --group mutation
	$(BIN)/python -m tests.mutation.main $(ARGS) $(MODULE)

lock: $(STAMP) ## resolve the dependencies anew, into the lock files in requirements/ (ARGS: such as --upgrade)
	$(BIN)/python -m pip install --quiet --group lock
	$(COMPILE) $(ARGS) pyproject.toml -o requirements/runtime.lock
	$(COMPILE) $(ARGS) --group build -o requirements/build.lock
	$(COMPILE) $(ARGS) --group test --group lint --constraint requirements/runtime.lock pyproject.toml -o requirements/dev.lock

sbom: $(STAMP) ## write what an image has into dist/clusterf.cdx.json, a software bill of materials (CycloneDX)
	$(BIN)/python -m pip install --quiet --group sbom
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements/runtime.lock --pyproject pyproject.toml --output-reproducible -o dist/clusterf.cdx.json

audit: $(STAMP) ## look for known vulnerabilities in what the lock files name; needs the network
	$(BIN)/python -m pip install --quiet --group audit
	for lock in runtime build dev; do $(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements/$$lock.lock || exit; done

lint: $(STAMP) ## check style, types and which package imports which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format the code, and fix what can be fixed automatically
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

sim: $(STAMP) ## simulate whole nodes for SECONDS=60, or one SEED; minimise what breaks a rule
	PYTHONHASHSEED=0 $(BIN)/python -m tests.sim.main --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(if $(SOURCE),--source $(SOURCE))

sim-mutants: $(STAMP) ## take each safety mechanism out, and show which seed of the simulation finds that
	PYTHONHASHSEED=0 $(BIN)/python -m tests.sim.mutants

bench: $(STAMP) ## measure (ARGS: for the benchmark)
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/bench/run $(ARGS)

clean: ## remove everything that make has created
	rm -rf $(VENV) .run .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist *.egg-info
	find actors clusterf tests -name __pycache__ -type d -prune -exec rm -rf {} +
