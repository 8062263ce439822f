#!/bin/sh
# Builds a binary that needs no library, no loader and no other file, and puts it into dist/.
#   sh mk/static.sh [PACKAGE]
set -eu
cd "$(dirname "$0")/.."

package=${1:-heartbeat}
case $package in
# The image holds the binary and its licence, in at most 1.5 MB: thousands of edge nodes pull it.
heartbeat) bytes_max=$((1536 * 1024 - $(wc -c <LICENSE))) ;;
*) bytes_max= ;;
esac

arch=$(uname -m)
gnu=$arch-unknown-linux-gnu
musl=$arch-unknown-linux-musl

# musl makes the smaller binary. It takes Rust's target and, for the allocator's C code, a compiler.
if [ -d "$(rustc --print sysroot)/lib/rustlib/$musl/lib" ] && command -v musl-gcc >/dev/null; then
    target=$musl
    link=
else
    target=$gnu
    # Every panic aborts: nothing reads unwind tables. Packed relocations take glibc 2.36; a linker
    # that has none for this architecture says so, and goes on without.
    link="-C link-arg=-Wl,-T,mk/no-unwind-tables.ld -C link-arg=-Wl,-z,pack-relative-relocs"
fi
# With a --target, crt-static stays away from build scripts, which can not be static.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static $link" \
    cargo build --release --locked --package "$package" --target "$target"

mkdir -p dist
cp "${CARGO_TARGET_DIR:-target}/$target/release/$package" "dist/$package"
if readelf --program-headers "dist/$package" | grep -q INTERP; then
    echo "static: dist/$package asks for a loader: it is not static" >&2
    exit 1
fi
# Starting it proves that this C library reads what this linker has written.
version=$("dist/$package" --version)
bytes=$(wc -c <"dist/$package")
if [ -n "$bytes_max" ] && [ "$bytes" -gt "$bytes_max" ]; then
    echo "static: dist/$package has $bytes bytes, allowed are $bytes_max" >&2
    exit 1
fi
echo "dist/$package: $version for $target, $bytes bytes"
