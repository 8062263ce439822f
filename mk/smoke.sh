#!/bin/sh
# Sends what the reference's two test files hold, in WebV's way, and compares the log with what it must say: status,
# errors, length, method and path of each request. SERVER=http://host:port asks a server that is there.
set -eu
cd "$(dirname "$0")/.."
. mk/served.sh

work=$(mktemp -d)
tab=$(printf '\t')

# NAME: runs a file; standard input is the log that it must leave, times left out.
expect() {
    tr ' ' "$tab" >"$work/expected"
    echo "$1 on $SERVER"
    code=0
    # The prober reads its options from the environment too, where they may mean something else.
    env -i ${SSL_CERT_FILE:+SSL_CERT_FILE="$SSL_CERT_FILE"} \
        "$PROBE" --server "$SERVER" --files "crates/probe/testfiles/$1" --verbose >"$work/log" || code=$?
    sed 's/^/  /' "$work/log"
    cut -f 2,3,5- "$work/log" >"$work/found"
    if [ "$code" != 0 ] || ! diff "$work/expected" "$work/found"; then
        rm -rf "$work"
        echo "smoke: $1 failed with exit code $code" >&2
        exit 1
    fi
}

expect heartbeat-benchmark.json <<END
200 0 17 GET /heartbeat/17
END
expect heartbeat-baseline.json <<END
400 0 0 GET /heartbeat/1048577
400 0 0 GET /heartbeat/0
200 0 1024 GET /heartbeat/1024
200 0 65536 GET /heartbeat/65536
200 0 1048576 GET /heartbeat/1048576
END
rm -rf "$work"
echo "smoke: all as it should be"
