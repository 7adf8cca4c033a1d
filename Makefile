# Each target is a thin call of what a user can type as well.
SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
INVENTORY ?= demo
SCENARIO ?= default
ANSIBLE := $(BIN)/ansible-playbook -i inventories/$(INVENTORY)

# What was typed after make is checked before anything starts, setup and Docker included.
VARIABLES := INVENTORY HOST RELEASE NAME SCENARIO ROW BENCH FILE SEED MINUTES FAULTS SCHEDULE REPEAT SHRINK CONVERGE
TYPED := $(foreach word,$(MAKEOVERRIDES),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word)))))
GOALS := $(words $(MAKECMDGOALS))
# Some shells and systems have these in the environment, where nobody has typed them.
HOST := $(if $(filter HOST,$(TYPED)),$(HOST))
NAME := $(if $(filter NAME,$(TYPED)),$(NAME))
export VARIABLES TYPED GOALS $(VARIABLES)
CHECK = scripts/arguments.sh $@
CHECK_HOST = $(if $(HOST),$(BIN)/python scripts/host_names.py $@ $(INVENTORY) '$(HOST)')

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: setup
setup: ## the control environment: .venv with locked packages
	@scripts/setup.sh

.PHONY: engine
engine: setup ## a Docker engine and the images of bare Debian servers
	@scripts/docker_engine.sh
	@scripts/base_image.sh bookworm trixie

.PHONY: demo
demo: setup ## the whole stack on one container, ending with a paid order
	@scripts/docker_engine.sh
	@scripts/base_image.sh bookworm
	@$(BIN)/python scripts/demo.py up

.PHONY: demo-destroy
demo-destroy: setup ## remove the demo's container, its secrets and its package caches
	@$(BIN)/python scripts/demo.py destroy

.PHONY: site
site: ## converge INVENTORY (default: demo)
	@$(CHECK) INVENTORY
	@scripts/setup.sh
	@$(ANSIBLE) playbooks/site.yml

.PHONY: deploy
deploy: ## the application's code to INVENTORY, nothing else
	@$(CHECK) INVENTORY
	@scripts/setup.sh
	@$(ANSIBLE) playbooks/deploy.yml

.PHONY: rollback
rollback: ## INVENTORY back to the release before, or to RELEASE
	@$(CHECK) INVENTORY RELEASE
	@scripts/setup.sh
	@$(ANSIBLE) playbooks/rollback.yml $(if $(RELEASE),-e rollback_to=$(RELEASE))

.PHONY: preflight
preflight: ## what is wrong in INVENTORY, before anything is touched
	@$(CHECK) INVENTORY
	@scripts/setup.sh
	@$(ANSIBLE) playbooks/preflight.yml

.PHONY: status
status: ## how INVENTORY's applications are; fails if one is unhealthy
	@$(CHECK) INVENTORY
	@scripts/setup.sh
	@$(ANSIBLE) playbooks/status.yml

.PHONY: drain
drain: ## the workers of HOST, a server of INVENTORY, finish their tasks and leave
	@$(CHECK) INVENTORY HOST
	@scripts/setup.sh
	@$(CHECK_HOST)
	@$(ANSIBLE) playbooks/drain.yml $(if $(HOST),--limit '$(HOST)')

.PHONY: failover
failover: ## make another Redis of INVENTORY's set the primary
	@$(CHECK) INVENTORY
	@scripts/setup.sh
	@$(ANSIBLE) playbooks/failover.yml

.PHONY: reboot
reboot: ## INVENTORY's servers, or HOST alone, one after another; workers finish first
	@$(CHECK) INVENTORY HOST
	@scripts/setup.sh
	@$(CHECK_HOST)
	@$(ANSIBLE) playbooks/reboot.yml $(if $(HOST),--limit '$(HOST)')

.PHONY: inventory
inventory: ## a new inventory: NAME=production
	@$(CHECK) NAME
	@scripts/setup.sh
	@$(BIN)/ansible-playbook -i localhost, playbooks/inventory.yml $(if $(NAME),-e inventory_name=$(NAME))

.PHONY: secrets
secrets: ## generate the secrets of INVENTORY once, into its vault file
	@$(CHECK) INVENTORY
	@scripts/setup.sh
	@$(ANSIBLE) playbooks/secrets.yml

.PHONY: lint
lint: setup ## ansible-lint, yamllint, ruff, mypy, shellcheck
	@scripts/lint.sh

.PHONY: unit
unit: setup ## unit tests, without containers, on all cores
	@$(BIN)/pytest --numprocesses auto --dist worksteal --durations 10 tests/unit

.PHONY: test-app
test-app: setup ## the sample app against real PostgreSQL, Redis, worker and browser
	@scripts/test_app.sh

.PHONY: versions
versions: setup ## the rights of Redis' users with each kombu from 5.3 on; needs redis-server
	@$(BIN)/pytest -c tests/versions/pytest.ini tests/versions

.PHONY: molecule
molecule: ## one Molecule scenario: SCENARIO=default
	@$(CHECK) SCENARIO
	@$(MAKE) --no-print-directory engine
	@scripts/molecule.sh $(SCENARIO)

.PHONY: faults
faults: ## break a server in all ways of docs/promises.md; ROW=5: one way, the server is kept
	@$(CHECK) ROW
	@$(MAKE) --no-print-directory engine
	@scripts/faults.sh $(ROW)

.PHONY: chaos
chaos: ## break a server at random; SEED=7 MINUTES=15 FAULTS=20 SCHEDULE=mixed, REPEAT=file, SHRINK=file, CONVERGE=1
	@$(CHECK) SEED MINUTES FAULTS SCHEDULE REPEAT SHRINK CONVERGE
	@$(MAKE) --no-print-directory engine
	@$(if $(CONVERGE),scripts/chaos.sh converge)
	@scripts/chaos.sh $(if $(SEED),--seed $(SEED),--seeds 2) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(FAULTS),--faults $(FAULTS)) \
		$(if $(SCHEDULE),--schedule $(SCHEDULE)) $(if $(REPEAT),--repeat $(REPEAT)) $(if $(SHRINK),--shrink $(SHRINK))

.PHONY: mutations
mutations: engine ## take away, one at a time, each line that protects a server: does a test notice?
	@scripts/with_server.sh security scripts/mutations.py

.PHONY: test
test: setup ## everything that CI runs
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint test-app
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory molecule SCENARIO=default
	@$(MAKE) --no-print-directory molecule SCENARIO=release
	@$(MAKE) --no-print-directory molecule SCENARIO=apps

.PHONY: test-all
test-all: ## the same in full: ten deploys, and one killed between any two tasks; all attacks; eight applications as they exist in the wild; several servers; each kombu; all faults three times, with controls, and two random schedules
	@RELEASE_DEPLOYS=10 RELEASE_BOUNDARIES=all $(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory versions
	@SECURITY_LONG=1 $(MAKE) --no-print-directory molecule SCENARIO=security
	@$(MAKE) --no-print-directory molecule SCENARIO=shapes
	@$(MAKE) --no-print-directory molecule SCENARIO=fleet
	@$(MAKE) --no-print-directory molecule SCENARIO=sentinel
	@FAULTS_RUNS=3 FAULTS_CONTROLS=1 $(MAKE) --no-print-directory faults
	@$(MAKE) --no-print-directory chaos CONVERGE=1
	@scripts/chaos.sh destroy

.PHONY: screenshots
screenshots: setup ## docs/images from the running demo, by headless Chromium
	@$(BIN)/python scripts/screenshots.py

.PHONY: bench
bench: ## measure runs, deploys and workers beside what they are compared with, into bench/results; BENCH=growth: one
	@$(CHECK) BENCH
	@$(MAKE) --no-print-directory engine
	@scripts/bench.sh $(BENCH)

.PHONY: sbom
sbom: ## what FILE (default: the sample app's requirements) brings with it, as CycloneDX, in .cache/sbom.json
	@$(CHECK) FILE
	@scripts/setup.sh
	@scripts/sbom.sh "$(or $(FILE),sample_app/requirements.txt)" .cache/sbom.json

.PHONY: lock
lock: setup ## resolve the requirements anew
	@scripts/lock.sh
