#!/bin/sh
# Writes the chart's README.md from the comments of its values.yaml. --check only says whether it would change.
set -eu
cd "$(dirname "$0")/.."
. mk/tools-path.sh

chart=manifests/chart/heartbeat
set -- "${1:-}" --chart-search-root manifests/chart --sort-values-order file --log-level warning
if [ "$1" = --check ]; then
    shift
    if ! helm-docs "$@" --dry-run | diff -u "$chart/README.md" -; then
        echo "chart-readme: $chart/README.md is not of this values.yaml: make chart-readme first" >&2
        exit 1
    fi
else
    shift
    helm-docs "$@"
fi
