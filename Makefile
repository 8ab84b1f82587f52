# The commands of this repository. Each one first prepares the machine (.ci/deps: libclang, and
# RocksDB compiled once into a cache outside the clone), then builds into that cache.
#
# `demo`, `build` and `test` share one cargo profile and one feature resolution (`--workspace`), so
# that every dependency is compiled once; only the benchmarks use `--release`.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help demo test soak lint build release bench-tasks deps clean

PREPARE = .ci/deps; environment=$$(.ci/deps --env); eval "$$environment"

# A WfFormat 1.5 file for `make demo`; empty means the project's own.
WORKFLOW ?=
# What `make bench-tasks` runs.
REPLICAS ?= 3
AGENTS ?= 2
TASKS ?= 1000
DRIVER ?= process

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22
	echo
	echo "  Caches live under \$$QUORATE_CACHE (default ~/.cache/quorate); CARGO_TARGET_DIR is honoured."

demo: ## three replicas, four agents, a real workflow, and kill -9 of the leader (WORKFLOW=path.json)
	@$(PREPARE)
	cargo build --locked --workspace --bin quorate
	exec "$$CARGO_TARGET_DIR/debug/quorate" demo $(if $(WORKFLOW),--workflow "$(WORKFLOW)")

test: ## everything that must hold: format, tidy, clippy, simulation, all tests
	@exec .ci/test

# Seeds of `make soak` begin here, and go on for so long.
SEED ?= 1000000
MINUTES ?= 30
soak: ## simulate fresh seeds for a while (MINUTES=30 SEED=1000000)
	@$(PREPARE)
	cargo sim sweep --seeds $(SEED)..$$(( $(SEED) + 1000000 )) --budget $(MINUTES)m

lint: ## format, tidy and clippy alone
	@exec .ci/test lint

build: ## the binary, unoptimised (prints where it is)
	@$(PREPARE)
	cargo build --locked --workspace --bin quorate
	echo "$$CARGO_TARGET_DIR/debug/quorate"

release: ## the binary, optimised (prints where it is)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	echo "$$CARGO_TARGET_DIR/release/quorate"

bench-tasks: ## tasks per second on a loopback cluster (TASKS=1000 REPLICAS=3 AGENTS=2 DRIVER=process|noop)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench tasks \
	    --replicas $(REPLICAS) --agents $(AGENTS) --tasks $(TASKS) --driver $(DRIVER)

deps: ## only prepare the machine
	@$(PREPARE)
	.ci/deps --env

clean: ## remove build products, keep the compiled RocksDB
	@environment=$$(.ci/deps --env); eval "$$environment"
	cargo clean
