# Measuring: side by side with other servers, the protocol alone, and its instructions.

.PHONY: bench bench-build bench-micro bench-instructions

# Long enough for figures, or just long enough to see that everything runs. Only a whole run is written down.
BENCH_LENGTH = $(if $(QUICK),--rounds 1 --seconds 0.2,--rounds 9 --seconds 0.5)
BENCH_CONGESTION = $(if $(CONGESTION),--congestion $(CONGESTION))
BENCH_OUT = $(if $(QUICK)$(ARGS),,--out benches/results)
BENCH = $${CARGO_TARGET_DIR:-target}/release/heartbeat-bench
# What is measured: the static server, because that is shipped.
PROGRAM = dist/heartbeat

bench: $(PROGRAM) bench-build ## Measure beside nginx and others; QUICK=1, CONGESTION=cubic, ARGS="--scenario 17b-c64"
	$(BENCH) run --program $(PROGRAM) $(BENCH_LENGTH) $(BENCH_CONGESTION) $(BENCH_OUT) $(ARGS)

.PHONY: dist/heartbeat
dist/heartbeat:
	sh mk/static.sh heartbeat

bench-build:
	cargo build --release --package heartbeat-bench

bench-micro: ## Time the protocol alone (criterion)
	cargo bench --package heartbeat-bench -- $(ARGS)

bench-instructions: bench-build ## Count the protocol's instructions per request (callgrind)
	$(BENCH) instructions
