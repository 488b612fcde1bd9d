# Everything a person does here. `make` alone prints this help.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PACKAGES := $(wildcard libs/* services/* tools/*)
INSTALLED := $(VENV)/.installed
RELEASED := tests/contract/released
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: help
help: ## Print this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up -------------------------------------------------------------------------------------

.PHONY: setup
setup: $(INSTALLED) ## Make the virtual environment and install everything from the lock

$(INSTALLED): requirements/lock.txt $(addsuffix /pyproject.toml,$(PACKAGES))
	@$(PYTHON) tools/devstack/src/devstack/preflight.py
	@test -x $(BIN)/python || { echo "setup: making the virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "setup: installing the locked packages (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ./,$(PACKAGES))
	@touch $@

.PHONY: tools
tools: setup ## Install the servers of the local stack into the cache, where the machine lacks them
	@$(RUN) devstack tools install

# --- the product, locally ------------------------------------------------------------------------

.PHONY: demo
demo: setup ## Bring everything up, run two definitions, show what happens (KEEP=1 leaves it running; STACK=compose: on a running suite)
	@$(RUN) python examples/demo/run.py $(if $(KEEP),--keep) $(if $(STACK),--stack $(STACK))

.PHONY: up
up: setup ## Start the local stack and every service (SECURE=1: with certificates everywhere)
	@$(RUN) devstack up $(if $(SECURE),--secure)

.PHONY: down
down: setup ## Stop them
	@$(RUN) devstack down

.PHONY: status
status: setup ## Say what runs, where, and what has crashed
	@$(RUN) devstack status

.PHONY: logs
logs: setup ## Print the log of one process: make logs NAME=router
	@$(RUN) devstack logs $(NAME)

# --- checks --------------------------------------------------------------------------------------

# Much of a test is waiting, so that three workers are of use to two processors. A part of the tests
# needs none: it has its servers sooner alone.
SHARED := $(if $(filter-out 0 1,$(WORKERS)),--numprocesses $(WORKERS))

.PHONY: test
test: setup ## Run all tests on real servers, two at a time (WORKERS=1); a part: ARGS="services/ledger -k run"
	@$(RUN) python -m pytest $(or $(ARGS),$(SHARED))

.PHONY: test-unit
test-unit: setup ## Run the tests that need no server
	@$(RUN) python -m pytest libs/*/tests/unit services/*/tests/unit tools/*/tests/unit tests/contract tests/replay $(or $(ARGS),$(SHARED))

.PHONY: test-full
test-full: setup ## Run all tests, and crash everywhere rather than at the day's sample (two hours)
	@BACKBONE_CRASHPOINTS=all $(RUN) python -m pytest $(or $(ARGS),$(SHARED))

CHAOS := python tests/chaos/campaign.py $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) \
	$(if $(EVENTS),--events $(EVENTS)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(SECURE),--secure)

.PHONY: chaos
chaos: setup ## Workload and faults at once, then the verdict: make chaos SEED=1 EVENTS=200 FAULTS=12 SEEDS=20 SECURE=1
	@$(RUN) $(CHAOS) $(ARGS)

.PHONY: certificate
certificate: setup ## The same with a report of it in build/certificate (OUT=…): seed, versions, faults, counts, verdicts
	@$(RUN) $(CHAOS) --certificate $(or $(OUT),build/certificate) $(ARGS)

.PHONY: fuzz
fuzz: setup ## Fuzz each parser for a minute: make fuzz TARGET=patterns SECONDS=600
	@$(RUN) PYTHONPATH=tests/fuzz python tests/fuzz/run.py $(if $(SECONDS),--seconds $(SECONDS)) $(TARGET)

.PHONY: lint
lint: setup ## ruff, buf and the lock: format, lint, no address in a lock file
	@$(RUN) ruff format --check --quiet . && $(RUN) ruff check --quiet .
	@cd proto && $(CURDIR)/$(BIN)/buf lint
	@! grep -nE 'https?://' requirements/*.txt services/*/requirements.txt tools/devstack/src/devstack/tools/locks/* || { echo "lint: a lock file holds an address"; exit 1; }

.PHONY: types
types: setup ## mypy --strict over every package
	@$(RUN) mypy libs/*/src services/*/src tools/*/src benchmarks examples docs/site

.PHONY: imports
imports: setup ## import-linter: who may import whom
	@$(RUN) lint-imports --no-cache

.PHONY: generated
generated: setup ## Check that generating stubs and schemas changes nothing
	@before=$$(git hash-object $$(git ls-files libs/contracts) | git hash-object --stdin); \
	$(RUN) ./proto/generate.sh; $(RUN) python -m contracts.jsonschemas; \
	after=$$(git hash-object $$(git ls-files libs/contracts) | git hash-object --stdin); \
	test "$$before" = "$$after" || { echo "generated: the checked-in stubs or schemas are not what the sources give; commit them"; git --no-pager diff --stat -- libs/contracts; exit 1; }

.PHONY: breaking
breaking: setup ## Check that the protos still fit what was released
	@cd proto && $(CURDIR)/$(BIN)/buf breaking --against ../tests/contract/released/proto

.PHONY: check
check: lint types imports generated breaking ## All static checks

DEPLOYED := $(addprefix tests/contract/test_,$(addsuffix .py,manifests deployment autoscaling deployed_observability worker_builds kafka_resources temporal_values backups images names compose))

.PHONY: render
render: setup ## Render every base and overlay, alone and with extras, into build/rendered (OUT=…)
	@$(RUN) devstack render --output $(or $(OUT),build/rendered)

.PHONY: check-deploy
check-deploy: setup ## Run the policies of what is deployed: manifests, images, names (ARGS="-k grace")
	@$(RUN) python -m pytest $(DEPLOYED) $(ARGS)

.PHONY: check-alerts
check-alerts: setup ## Run the cases of the alerts, and compare dashboards, alerts and runbooks with the code
	@$(RUN) python -m pytest tests/contract/test_observability.py $(ARGS)

.PHONY: sbom
sbom: setup ## Write what is in each image into build/sbom (CycloneDX; OUT=…)
	@$(RUN) devstack sbom --output $(or $(OUT),build/sbom)

.PHONY: format
format: setup ## Format the code
	@$(RUN) ruff format --quiet . && $(RUN) ruff check --fix --quiet .

.PHONY: bench
bench: setup ## Run one benchmark: make bench NAME=first-run
	@test -n "$(NAME)" || { echo "bench: say which, for example make bench NAME=first-run"; exit 2; }
	@$(RUN) python -m benchmarks $(NAME) $(ARGS)

.PHONY: docs
docs: setup ## Build docs/ as a site into build/site; a broken link or an unlisted page fails
	@NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet --site-dir $(or $(OUT),build/site)
	@echo "docs: open $(or $(OUT),build/site)/index.html"

# --- sources that are generated -------------------------------------------------------------------

.PHONY: protos
protos: setup ## Write the stubs from proto/
	@$(RUN) ./proto/generate.sh

.PHONY: schemas
schemas: setup ## Write the published JSON Schemas from the models
	@$(RUN) python -m contracts.jsonschemas

.PHONY: asyncapi
asyncapi: setup ## Write docs/asyncapi.yaml from the models
	@$(RUN) backbone contract asyncapi > docs/asyncapi.yaml.new && mv docs/asyncapi.yaml.new docs/asyncapi.yaml

.PHONY: dashboards
dashboards: setup ## Write the dashboards from the code, and the alerts for the Prometheus operator
	@$(RUN) devstack dashboards

.PHONY: release-contracts
release-contracts: breaking ## When a release is cut: keep its schemas, protos and SQL to compare with
	@$(RUN) python -m pytest --quiet tests/contract/test_released.py
	@rm -rf $(RELEASED)/schemas $(RELEASED)/proto
	@mkdir -p $(RELEASED)/proto
	@cp -R libs/contracts/src/contracts/schemas $(RELEASED)/schemas
	@cp -R proto/buf.yaml proto/backbone $(RELEASED)/proto/
	@rm -rf $(RELEASED)/sql
	@for source in services/*/src/*/sql libs/eventstore/src/eventstore/sql; do \
		kept=$(RELEASED)/sql/$$(basename $$(dirname $$source)); mkdir -p $$kept; cp $$source/*.sql $$kept/; done

.PHONY: lock
lock: ## Write the lock and its parts for the images (UPGRADE=1 takes the newest versions); needs uv
	@./requirements/compile.sh
