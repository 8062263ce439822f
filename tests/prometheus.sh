#!/usr/bin/env bash
# A real Prometheus scrapes a real server and a real prober, and has what a dashboard asks for. It
# collects native histograms, which the prober sends by protobuf.
#
#   tests/prometheus.sh [HEARTBEAT [HEARTBEAT_PROBE]]
#
# Without arguments the programs are those in target/release. Needs prometheus (2.40 or newer) and
# promtool (apt-get install --no-install-recommends prometheus), and curl. Everything is on the
# loopback and ends by itself within two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

heartbeat=${1:-target/release/heartbeat}
heartbeat_probe=${2:-target/release/heartbeat-probe}
directory=$(mktemp -d)
children=()

clean_up() {
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    done
    rm -rf "$directory"
}
trap clean_up EXIT

fail() {
    echo "prometheus: $*" >&2
    for log in "$directory"/*.log; do
        tail -n 20 "$log" >&2 || true
    done
    exit 1
}

# Runs a check until it succeeds, for 30 seconds at most.
eventually() {
    for _ in $(seq 60); do
        if "$@"; then return 0; fi
        sleep 0.5
    done
    return 1
}

for tool in prometheus promtool curl; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
done

timeout 120 "$heartbeat" --port 0 --address 127.0.0.1 --threads 2 --drain-delay 0s \
    2>"$directory/heartbeat.log" &
children+=($!)
eventually grep -q '^  send ' "$directory/heartbeat.log" || fail "the server does not start"
server=$(sed -n 's/^  address  //p' "$directory/heartbeat.log")
for size in 17 1024 65536 1048576 0; do
    curl -s -o "$directory/answer" "http://$server/heartbeat/$size"
done

curl -s "http://$server/metrics" >"$directory/metrics"
promtool check metrics <"$directory/metrics" >"$directory/promtool.log" 2>&1 ||
    fail "promtool refuses the metrics"
[ ! -s "$directory/promtool.log" ] || fail "promtool has something to say"

# Runs a function that starts a program on a port and ends with its process, and waits until the
# program is ready at a path. Sets `address`. The port lies below those that are given to clients;
# where it is taken the program ends, and another one is tried.
start() {
    for _ in 1 2 3; do
        address=127.0.0.1:$((20000 + RANDOM % 10000))
        "$1" &
        children+=($!)
        is_ready() {
            kill -0 "${children[-1]}" 2>/dev/null || return 0
            curl -sf -o "$directory/answer" "http://$address$2"
        }
        if eventually is_ready "$@" && kill -0 "${children[-1]}" 2>/dev/null; then return 0; fi
    done
    fail "$1 does not start"
}

echo '{"requests": [{"path": "/heartbeat/17", "validation": {"length": 17}}]}' >"$directory/test.json"
the_prober() {
    exec timeout 120 "$heartbeat_probe" --server "http://$server" --files "$directory/test.json" \
        --run-loop --sleep 100 --port "${address##*:}" >"$directory/probe.log" 2>&1
}
start the_prober /readyz
prober=$address

cat >"$directory/prometheus.yml" <<YAML
global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: heartbeat
    static_configs: [{ targets: ["$server"] }]
  - job_name: prober
    static_configs: [{ targets: ["$prober"] }]
YAML

Prometheus() {
    exec timeout 120 prometheus --enable-feature=native-histograms \
        --config.file="$directory/prometheus.yml" --storage.tsdb.path="$directory/data" \
        --web.listen-address="$address" >"$directory/prometheus.log" 2>&1
}
start Prometheus /-/ready
prometheus=$address

# Whether a query has an answer that is not empty.
has() {
    curl -sf --data-urlencode "query=$1" "http://$prometheus/api/v1/query" |
        grep -q '"result":\[{'
}

for query in \
    'up{job="heartbeat"} == 1' \
    'heartbeat_http_requests_total{route="heartbeat",code="200"} > 4' \
    'sum(heartbeat_http_requests_total{code="400"}) == 1' \
    'rate(heartbeat_http_requests_total{route="metrics"}[10s]) > 0' \
    'histogram_quantile(0.99, heartbeat_http_request_duration_seconds_bucket{size="1m"}) > 0' \
    'heartbeat_build_info == 1' \
    'heartbeat_threads == 2' \
    'process_resident_memory_bytes > 0' \
    'time() - process_start_time_seconds < 120' \
    'scrape_samples_scraped{job="heartbeat"} <= 90' \
    'up{job="prober"} == 1' \
    'histogram_count(heartbeat_probe_request_duration_seconds) > 10' \
    'histogram_quantile(0.99, rate(heartbeat_probe_request_duration_seconds[10s])) > 0'; do
    eventually has "$query" || fail "Prometheus has no answer to: $query"
    echo "ok: $query"
done
