# Shipping: the static binary, the images, and the checks of everything around them.

# amd64 or arm64; without it, this machine's.
export ARCH

.PHONY: static test-musl test-arm64 image image-dist check-manifests check-dashboard audit tools chart-readme completions

static: ## Build both static programs into dist/ (musl); ARCH=arm64 or amd64
	sh mk/static.sh

test-musl: ## Run the server's tests as musl programs
	sh mk/test-musl.sh

test-arm64: ## Test dist/arm64, under QEMU on other machines
	sh mk/test-arm64.sh

completions: ## Write man pages and shell completions into dist/
	cargo run --quiet --package heartbeat-pages -- dist

image: ## Build the image from source, with docker, podman or buildah
	sh mk/image.sh Dockerfile

image-dist: ## Build the image around dist/heartbeat; pulls nothing
	sh mk/image.sh Dockerfile.dist

check-manifests: ## Render and check manifests, chart, rules, Dockerfiles, workflows
	sh mk/check-manifests.sh

check-dashboard: ## Ask its queries of a real Prometheus; ARGS="--pictures docs/img"
	. mk/tools-path.sh && python3 tests/dashboard/check.py $(ARGS)

audit: ## Check workflows, images, manifests, Markdown, dependencies
	sh mk/audit.sh

tools: ## Install what check-manifests needs, below your cache folder
	sh mk/tools.sh

chart-readme: ## Write the chart's README.md from its values.yaml
	sh mk/chart-readme.sh
