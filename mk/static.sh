#!/bin/sh
# Builds one binary that needs no library, no loader and no other file, and puts it into dist/.
set -eu
cd "$(dirname "$0")/.."

arch=$(uname -m)
gnu=$arch-unknown-linux-gnu
musl=$arch-unknown-linux-musl

# musl makes the smaller binary. It takes Rust's target and, for the allocator's C code, a compiler.
if [ -d "$(rustc --print sysroot)/lib/rustlib/$musl/lib" ] && command -v musl-gcc >/dev/null; then
    target=$musl
else
    target=$gnu
fi
# With a --target, crt-static stays away from build scripts, which can not be static.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
    cargo build --release --locked --package heartbeat --target "$target"

mkdir -p dist
cp "${CARGO_TARGET_DIR:-target}/$target/release/heartbeat" dist/heartbeat
if readelf --program-headers dist/heartbeat | grep -q INTERP; then
    echo "static: dist/heartbeat asks for a loader: it is not static" >&2
    exit 1
fi
echo "dist/heartbeat: $(dist/heartbeat --version) for $target, $(wc -c <dist/heartbeat) bytes"
