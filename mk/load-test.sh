#!/bin/sh
# The load that the reference's prober puts on a server: 100 requests a second for 30 s, 1 KB, 64 KB and 1 MB in turns.
# Fails where one of them does. RATE, DURATION, WARM_UP, CONNECTIONS and FILE overrule; ARGS are further options.
# SERVER=http://host:port asks a server that is there.
set -eu
cd "$(dirname "$0")/.."
. mk/served.sh

# ARGS are words.
# shellcheck disable=SC2086
"$PROBE" load "$SERVER" --files "${FILE:-crates/probe/testfiles/heartbeat-load.json}" --rate "${RATE:-100}" \
    --duration "${DURATION:-30s}" --warm-up "${WARM_UP:-2s}" --connections "${CONNECTIONS:-16}" ${ARGS:-}
