# shellcheck shell=sh
# To be sourced, from the root of the repository: builds the prober and, unless SERVER names one that is there, builds
# the server and starts it on a free port of this machine. HEARTBEAT and HEARTBEAT_PROBE name programs to take instead of
# building them. Sets SERVER and PROBE; the server ends with the script.

bin=${CARGO_TARGET_DIR:-target}/release
if [ -z "${HEARTBEAT_PROBE:-}" ]; then
    cargo build --release --package heartbeat-probe
fi
if [ -z "${SERVER:-}${HEARTBEAT:-}" ]; then
    cargo build --release --package heartbeat
fi
PROBE=${HEARTBEAT_PROBE:-$bin/heartbeat-probe}
export PROBE

# Waits for the line with the address that --port 0 found, for 5 s: the start takes milliseconds.
served_address() {
    for _ in $(seq 100); do
        address=$(sed -n 's/^ *address *//p' "$served_banner")
        if [ -n "$address" ]; then
            SERVER=http://$address
            return
        fi
        if ! kill -0 "$served_pid" 2>/dev/null; then
            break
        fi
        sleep 0.05
    done
    cat "$served_banner" >&2
    echo "served: the server did not start" >&2
    return 1
}

if [ -z "${SERVER:-}" ]; then
    served_banner=$(mktemp)
    served_end() {
        kill "$served_pid" 2>/dev/null || true
        wait "$served_pid" 2>/dev/null || true
        rm -f "$served_banner"
    }
    "${HEARTBEAT:-$bin/heartbeat}" --port 0 --address 127.0.0.1 --drain-delay 0s 2>"$served_banner" &
    served_pid=$!
    trap served_end EXIT
    # A signal ends a script without its EXIT trap in some shells.
    trap 'exit 130' INT
    trap 'exit 143' TERM
    served_address
fi
