#!/bin/sh
# Runs all tests of the server's three crates as musl programs of this machine, or those that ARGS name.
set -eu
cd "$(dirname "$0")/.."
. mk/musl.sh

# ARGS are words.
# shellcheck disable=SC2086
cargo test --no-fail-fast --target "$target" --package heartbeat-protocol --package heartbeat-runtime --package heartbeat ${ARGS:-}
