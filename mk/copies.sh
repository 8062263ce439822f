#!/bin/sh
# Writes the copies of files that kustomize and Helm need inside their own folders: neither reads files above them, and
# archivers (Flux, a tarball of the folder) leave symbolic links out. --check only compares, and names what differs.
set -eu
cd "$(dirname "$0")/.."

copies() {
    chart=manifests/chart/heartbeat/files
    components=manifests/components
    tests=crates/probe/testfiles
    cat <<END_OF_LIST
manifests/monitoring/dashboard.json $chart/dashboard.json
manifests/monitoring/heartbeat.rules.yaml $chart/heartbeat.rules.yaml
manifests/seccomp/heartbeat-io-uring.json $chart/heartbeat-io-uring.json
$tests/heartbeat-baseline.json $chart/heartbeat-baseline.json
$tests/heartbeat-benchmark.json $chart/heartbeat-benchmark.json
$tests/heartbeat-load.json $chart/heartbeat-load.json
$tests/heartbeat-baseline.json $components/probe-cron/heartbeat-baseline.json
$tests/heartbeat-load.json $components/probe/heartbeat-load.json
END_OF_LIST
}

rules=manifests/components/monitoring/prometheusrule.yaml
if [ "${1:-}" != --check ]; then
    copies | while read -r source copy; do
        cp "$source" "$copy"
    done
    sh mk/prometheusrule.sh >"$rules"
    exit
fi

differ=$(copies | while read -r source copy; do
    if [ -L "$copy" ]; then
        echo "$copy is a symbolic link, not a copy of $source"
    elif ! cmp -s "$source" "$copy"; then
        echo "$copy differs from $source"
    fi
done)
unlisted=$(find manifests/chart/heartbeat/files -mindepth 1 | while read -r file; do
    copies | grep -q " $file\$" || echo "$file is in no line of mk/copies.sh"
done)
links=$(find manifests -type l | sed 's/$/ is a symbolic link: archivers leave it out/')
stale=$(sh mk/prometheusrule.sh | cmp -s - "$rules" || echo "$rules differs from the rules it is written from")
errors=$(printf '%s\n' "$differ" "$unlisted" "$links" "$stale" | sed '/^$/d')
if [ -n "$errors" ]; then
    echo "$errors" | sed 's/^/copies: /' >&2
    echo "copies: sh mk/copies.sh writes them anew" >&2
    exit 1
fi
