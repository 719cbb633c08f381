# `make` alone lists the targets. Everything is set up by `setup`; nothing is assumed but git, make, Node and npm.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# The workspace's own Node (24) and tools first.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
PREFIX ?= /usr/local
IMAGE := out/image
# Of the soak.
MINUTES ?= 5
DRIVER ?= both

.PHONY: help setup build image kernel demo shell test clients check fuzz faults bench soak install uninstall generate clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install Debian and npm packages that are missing
	@scripts/setup

build: setup ## bundle the programs into bin/
	@tsx scripts/build.ts

image: build ## build the guest image (cached)
	@bin/coracle-image build images/base --output $(IMAGE) --update-missing

kernel: build ## compile our own kernel once (some minutes, cached); images use it from then on
	@bin/coracle-image kernel images/base --update-missing

demo: image ## run real containers in real VMs and show what happens
	@tsx scripts/demo.ts

shell: image ## an interactive shell in a container in a VM
	@tsx scripts/shell.ts

check: setup ## types, lint, unit tests: under a minute
	@echo "check: types" && tsc -p . && tsc -p packages/tap/page
	@echo "check: lint" && biome check --error-on-warnings . && buf lint
	@echo "check: unit tests" && vitest run --project unit

test: kernel image ## all tiers: unit, local, tap, vm, clients
	@scripts/setup tests
	@tsx scripts/test.ts

clients: kernel image ## the last tier alone: Docker, containerd and Podman on Coracle and on runc
	@scripts/setup tests
	@bin/coracle template build
	@vitest run --project clients

fuzz: setup ## fuzz both decoders, all messages and the shim: SECONDS=60 for each language, ONLY=target, SEED=number
	@make --silent -C packages/shim fuzz
	@tsx test/fuzz/main.ts --seconds $(or $(SECONDS),60) $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED))

faults: image ## kill, stop and cut everything under 16 processes in a VM; FAULTS="--faults 100 --seed 7" for more
	@tsx test/faults/main.ts $(FAULTS)

bench: image ## benchmarks, each beside its baseline from the same run
	@scripts/setup tests
	@tsx bench/main.ts

soak: image ## MINUTES=5 of random churn and faults; nothing may be lost or left
	@tsx test/soak/main.ts --minutes $(MINUTES) --driver $(DRIVER) $(if $(SEED),--seed $(SEED))

generate: setup ## generate packages/wire/src/gen from proto/
	@buf generate

install: image ## install below PREFIX (default /usr/local)
	@PREFIX=$(PREFIX) scripts/install

uninstall: ## remove what install put there
	@PREFIX=$(PREFIX) scripts/install --remove

clean: ## remove what was built; caches outside the checkout stay
	rm -rf bin dist out node_modules packages/*/node_modules test/node_modules bench/node_modules
