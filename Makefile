# The commands of this repository. Each one first prepares the machine (.ci/deps: libclang, and
# RocksDB compiled once into a cache outside the clone), then builds into that cache.
#
# `demo`, `build` and `test` share one cargo profile and one feature resolution (`--workspace`), so
# that every dependency is compiled once; only the benchmarks use `--release`.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help demo test chaos upgrade-test soak fuzz lint build release bench-tasks bench-log bench-failover bench-elections bench-timeouts bench-rolling bench-state bench-agents bench-flood bench-workflow bench-archive bench-etcd deps clean

PREPARE = .ci/deps; environment=$$(.ci/deps --env); eval "$$environment"

# A WfFormat 1.5 file for `make demo`; empty means the project's own.
WORKFLOW ?=
# What `make bench-tasks` runs: so many tasks at once, with each driver; so many one by one; and the first number again
# in one cluster in which so many have ended before. HyperQueue is measured beside it where it can be installed.
REPLICAS ?= 3
AGENTS ?= 2
TASKS ?= 1000,10000
DRIVER ?= process,noop
SINGLES ?= 200
HISTORY ?= 10000,100000
# What the other benchmarks run.
CONCURRENCY ?= 1,64,1024
ROUNDS ?= 5
STATE_TASKS ?= 1000000
SECONDS_EACH ?= 5
FAULT ?= kill
CALLERS ?= 8
LOAD_CALLERS ?= 64
MINUTES_EACH ?= 1
NODES ?= 100,10000
KILLS ?= 40
FLOOD ?= 1024
SHAPES ?= fan-out array dag
ARCHIVE_RUNS ?= 1000000

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

# `make chaos` takes MINUTES and SEED, and other ones than `make soak` if nobody says which.
chaos: MINUTES ?= 2
chaos: SEED ?= 1
chaos: ## real processes on hosts of their own, with overlapping faults; needs root, iproute2, nftables (MINUTES=2 SEED=1)
	@$(PREPARE)
	cargo build --locked --workspace --bin quorate --bin quorate-simulation --bin multihost
	cargo build --locked --package quorate-tests --example wall_clock
	exec "$$CARGO_TARGET_DIR/debug/multihost" --seed $(SEED) --minutes $(MINUTES)

# What `make upgrade-test` starts from: a revision of this repository, or a binary that is there already.
FROM ?=
OLD ?=
upgrade-test: ## from an older version to this one, replica by replica, under load (FROM=revision, or OLD=binary)
	@$(PREPARE)
	old="$(OLD)"
	[ -n "$$old" ] || old=$$(.ci/previous $(FROM))
	cargo build --locked --workspace --bin quorate --bin upgrade
	exec "$$CARGO_TARGET_DIR/debug/upgrade" --old "$$old" --new "$$CARGO_TARGET_DIR/debug/quorate"

# Seeds of `make soak` begin here, and go on for so long.
soak: SEED ?= 1000000
soak: MINUTES ?= 30
soak: ## simulate fresh seeds for a while (MINUTES=30 SEED=1000000)
	@$(PREPARE)
	cargo sim sweep --seeds $(SEED)..$$(( $(SEED) + 1000000 )) --budget $(MINUTES)m

# Coverage is all that libFuzzer needs of the compiler, and a stable one gives it. What is found lies beside the corpus,
# which it joins once it is mended.
fuzz: TARGET ?= job-toml
fuzz: MINUTES ?= 1
fuzz: ## look for bytes that a reader is wrong about (TARGET=job-toml, see tests/fuzz/targets.rs, MINUTES=1)
	@$(PREPARE)
	coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
	coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
	export RUSTFLAGS="--cfg tokio_unstable --cfg fuzzing -Cdebug-assertions -Coverflow-checks $$coverage"
	host=$$(rustc -vV | sed -n 's/^host: //p')
	cargo build --locked --release --config profile.release.lto=false --package quorate-fuzz --features libfuzzer --bin fuzz \
	    --target "$$host" --target-dir "$$CARGO_TARGET_DIR/fuzz"
	seeds=$$(mktemp -d); trap 'rm -rf "$$seeds"' EXIT
	export QUORATE_FUZZ_TARGET=$(TARGET) QUORATE_FUZZ_SEEDS="$$seeds"
	"$$CARGO_TARGET_DIR/fuzz/$$host/release/fuzz" -runs=0
	mkdir -p "tests/fuzz/corpus/$(TARGET)"
	"$$CARGO_TARGET_DIR/fuzz/$$host/release/fuzz" -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
	    -max_total_time=$$(( $(MINUTES) * 60 )) -artifact_prefix="tests/fuzz/corpus/$(TARGET)/found-" "$$seeds"

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

bench-tasks: ## tasks per second beside HyperQueue and plain processes, in turn, with a JSON line per row (TASKS=1000,10000 DRIVER=process,noop ROUNDS=5 SINGLES=200 HISTORY=10000,100000)
	@$(PREPARE)
	beside=()
	if hyperqueue=$$(.ci/hyperqueue); then beside=(--hyperqueue "$$hyperqueue"); fi
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench tasks --replicas $(REPLICAS) --agents $(AGENTS) \
	    --tasks $(TASKS) --driver $(DRIVER) --rounds $(ROUNDS) --singles $(SINGLES) \
	    $(if $(HISTORY),--history $(HISTORY)) "$${beside[@]}" --json

bench-log: ## changes of the log per second on a loopback cluster (CONCURRENCY=1,64,1024 ROUNDS=5 SECONDS_EACH=5)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench log --replicas $(REPLICAS) \
	    --concurrency $(CONCURRENCY) --rounds $(ROUNDS) --seconds $(SECONDS_EACH)

bench-failover: ## how long nobody leads after the leader is gone (ROUNDS=5 FAULT=kill|stop|partition)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench failover --replicas $(REPLICAS) --rounds $(ROUNDS) --fault $(FAULT)

bench-elections: ## elections without a fault, idle or under load (MINUTES_EACH=1 LOAD_CALLERS=64, 0: idle)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench elections --replicas $(REPLICAS) \
	    --minutes $(MINUTES_EACH) --callers $(LOAD_CALLERS)

bench-timeouts: ## takeovers and false elections by election times (ROUNDS=5 MINUTES_EACH=1 LOAD_CALLERS=64)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench timeouts --replicas $(REPLICAS) --rounds $(ROUNDS) \
	    --minutes $(MINUTES_EACH) --callers $(LOAD_CALLERS)

bench-state: ## what a large state costs: memory, restart, catching up by a snapshot (STATE_TASKS=1000000)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench state --replicas $(REPLICAS) --tasks $(STATE_TASKS)

bench-agents: ## what many agents cost, how soon a lost node's tasks run elsewhere, the return of all, with a JSON line per row (NODES=100,10000 ROUNDS=5 KILLS=40)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench agents --replicas $(REPLICAS) --agents $(NODES) \
	    --rounds $(ROUNDS) --kills $(KILLS) --json

bench-flood: ## what a flood of submits does to tasks and cancels (FLOOD=1024 callers)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench flood --replicas $(REPLICAS) --callers $(FLOOD)

bench-workflow: ## what very large workflows cost the leader, with a JSON line each (SHAPES="fan-out array dag")
	@$(PREPARE)
	cargo build --locked --release --package quorate
	for shape in $(SHAPES); do "$$CARGO_TARGET_DIR/release/quorate" bench workflow --shape $$shape --json || exit 1; done

bench-archive: ## pages of lists and searches over finished runs on the disk (ARCHIVE_RUNS=1000000)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench archive --runs $(ARCHIVE_RUNS)

bench-rolling: ## what callers notice when every replica is restarted in turn (ROUNDS=5 CALLERS=8)
	@$(PREPARE)
	cargo build --locked --release --package quorate
	exec "$$CARGO_TARGET_DIR/release/quorate" bench rolling --replicas $(REPLICAS) --rounds $(ROUNDS) --callers $(CALLERS)

bench-etcd: ## the same two beside etcd, in turn, with a JSON line per row (ETCD=path of its binary)
	@$(PREPARE)
	etcd=$$(.ci/etcd)
	cargo build --locked --release --package quorate
	quorate="$$CARGO_TARGET_DIR/release/quorate"
	rows=$$(mktemp)
	trap 'rm -f "$$rows"' EXIT
	"$$quorate" bench log --replicas $(REPLICAS) --concurrency $(CONCURRENCY) --rounds $(ROUNDS) \
	    --seconds $(SECONDS_EACH) --etcd "$$etcd" --json >>"$$rows"
	for fault in kill stop partition; do
	    "$$quorate" bench failover --replicas $(REPLICAS) --rounds $(ROUNDS) --fault "$$fault" --etcd "$$etcd" --json >>"$$rows"
	done
	cat "$$rows"

deps: ## only prepare the machine
	@$(PREPARE)
	.ci/deps --env

clean: ## remove build products, keep the compiled RocksDB
	@environment=$$(.ci/deps --env); eval "$$environment"
	cargo clean
