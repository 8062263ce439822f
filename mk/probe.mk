# The prober: its binary, its image, and what it says of a server. SERVER=http://host:port asks one that is there.

.PHONY: probe probe-image probe-image-dist smoke load-test

probe: ## Build target/release/heartbeat-probe
	cargo build --release --package heartbeat-probe

probe-image: ## Build the prober's image from source
	sh mk/image.sh Dockerfile.probe

probe-image-dist: ## Build the prober's image around dist/heartbeat-probe; pulls nothing
	sh mk/image.sh Dockerfile.probe.dist

smoke: ## Ask a server what the reference's test files say; SERVER=http://host:port
	sh mk/smoke.sh

load-test: ## 100 requests a second for 30 s; RATE=1000 DURATION=5s SERVER=http://host:port
	sh mk/load-test.sh
