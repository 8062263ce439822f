#!/bin/sh
# Builds one prober that needs no library, no loader and no other file, and puts it into dist/. It always links glibc:
# the C compiler that musl takes is no loss for the prober, whose size is no concern.
set -eu
cd "$(dirname "$0")/.."

target=$(uname -m)-unknown-linux-gnu
# With a --target, crt-static stays away from build scripts, which can not be static.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
    cargo build --release --locked --package heartbeat-probe --target "$target"

mkdir -p dist
cp "${CARGO_TARGET_DIR:-target}/$target/release/heartbeat-probe" dist/heartbeat-probe
# The image's roots for https: a scratch image has none of its own.
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" dist/ca-certificates.crt
if readelf --program-headers dist/heartbeat-probe | grep -q INTERP; then
    echo "probe-static: dist/heartbeat-probe asks for a loader: it is not static" >&2
    exit 1
fi
echo "dist/heartbeat-probe: $(dist/heartbeat-probe --version) for $target, $(wc -c <dist/heartbeat-probe) bytes"
