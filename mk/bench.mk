# Measuring: side by side with other servers, the protocol alone, and its instructions.

.PHONY: bench bench-build bench-micro bench-instructions

# Long enough for figures, or just long enough to see that everything runs. Only a whole run is written down.
BENCH_LENGTH = $(if $(QUICK),--rounds 1 --seconds 0.2,--rounds 9 --seconds 0.5)
BENCH_CONGESTION = $(if $(CONGESTION),--congestion $(CONGESTION))
BENCH_OUT = $(if $(QUICK)$(ARGS),,--out benches/results)
BENCH = $${CARGO_TARGET_DIR:-target}/release/heartbeat-bench

bench: bench-build ## Measure beside nginx and others; QUICK=1, CONGESTION=cubic, ARGS="--scenario 17b-c64"
	$(BENCH) run $(BENCH_LENGTH) $(BENCH_CONGESTION) $(BENCH_OUT) $(ARGS)

# One at a time: together, Cargo would build the server with the features the benchmarks ask for.
bench-build:
	cargo build --release --package heartbeat
	cargo build --release --package heartbeat-bench

bench-micro: ## Time the protocol alone (criterion)
	cargo bench --package heartbeat-bench -- $(ARGS)

bench-instructions: bench-build ## Count the protocol's instructions per request (callgrind)
	$(BENCH) instructions
