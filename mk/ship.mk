# Shipping: the static binary, the images, and the checks of everything around them.

.PHONY: static image image-dist check-manifests tools chart-readme

static: ## Build one static binary: dist/heartbeat
	sh mk/static.sh

image: ## Build the image from source, with docker, podman or buildah
	sh mk/image.sh Dockerfile

image-dist: ## Build the image around dist/heartbeat; pulls nothing
	sh mk/image.sh Dockerfile.dist

check-manifests: ## Render and check manifests, chart, rules, Dockerfiles, workflows
	sh mk/check-manifests.sh

tools: ## Install what check-manifests needs, below your cache folder
	sh mk/tools.sh

chart-readme: ## Write the chart's README.md from its values.yaml
	sh mk/chart-readme.sh
