# Every target is a thin name for the commands below it; `make` lists them.

HEARTBEAT_REVISION ?= $(shell git rev-parse --short HEAD 2>/dev/null)
export HEARTBEAT_REVISION

.PHONY: help build run test lint conformance soak clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build target/release/heartbeat
	cargo build --release

run: ## Build, then serve on port 8080; ARGS="--log ..." is passed on
	cargo run --release -- $(ARGS)

test: ## Run all tests
	cargo test --workspace --no-fail-fast

lint: ## Check formatting, lints and documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

conformance: ## Compare verdicts with h11, httptools, Node and hyper (installs them)
	python3 conformance/run.py

soak: build ## Mix requests, check every byte; ARGS="--seconds 60 --io uring --sizes 1K,64K,1M"
	cargo run --release --package heartbeat-soak -- --seconds 600 $(ARGS)

clean: ## Remove everything that was built
	cargo clean

include mk/ship.mk
include mk/bench.mk
include mk/probe.mk
include mk/cluster.mk
