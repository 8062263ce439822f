#!/bin/sh
# Builds binaries that need no library, no loader and no other file, and puts them into dist/ARCH; those of this
# machine into dist/ as well.
#   [ARCH=amd64|arm64] sh mk/static.sh [PACKAGE...]
set -eu
cd "$(dirname "$0")/.."
. mk/musl.sh

[ $# -gt 0 ] || set -- heartbeat heartbeat-probe
mkdir -p "dist/$arch" "$bin"
# Nothing unwinds, so nothing reads the tables for it that the standard library and the C code bring along.
no_unwind=$bin/no-unwind.ld
cat >"$no_unwind" <<'EOF'
SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table .gcc_except_table.*) } }
INSERT AFTER .text;
EOF
# Nothing unwinds: a panic aborts. Cargo forgets the profile's `strip` for a package whose optimization has a section of
# its own, as the prober's has.
flags='-C force-unwind-tables=no -C strip=symbols'
export "CARGO_TARGET_$(echo "$name" | tr '[:lower:]' '[:upper:]')_RUSTFLAGS=$flags"
# musl for x86-64 copies by `rep movsq`: 10 to 31 ns for 2 to 160 bytes, and each answer needs six such copies. The functions
# of Zig's compiler-rt take 2 to 10 ns. The linker takes them, because they come before libc.
memory=''
if [ "$arch" = amd64 ]; then
    echo 'export fn heartbeat_unused() void {}' >"$bin/memory.zig"
    "$HEARTBEAT_ZIG" -m ziglang build-lib -O ReleaseFast -target "$HEARTBEAT_ARCH-linux-musl" -fcompiler-rt -fPIC -fstrip \
        -ffunction-sections -fdata-sections --name memory "-femit-bin=$bin/libmemory.a" "$bin/memory.zig"
    memory="-L native=$bin -l static=memory"
fi
for package; do
    # Bytes, with 1 MB = 1,048,576. Thousands of edge nodes pull the images, which hold little else.
    case $package in
    heartbeat) bytes_max=$((1280 * 1024)) ;;
    *) bytes_max=$((5120 * 1024)) ;;
    esac
    # One at a time: together, Cargo would build the server with the features that the prober asks for.
    # shellcheck disable=SC2086 # Two options, or none.
    cargo rustc --release --locked --package "$package" --bin "$package" --target "$target" -- \
        -C "link-arg=-T$no_unwind" $memory
    binary=dist/$arch/$package
    cp "$bin/release/$package" "$binary"
    if readelf --program-headers "$binary" | grep -q INTERP; then
        echo "static: $binary asks for a loader: it is not static" >&2
        exit 1
    fi
    bytes=$(wc -c <"$binary")
    if [ "$bytes" -gt "$bytes_max" ]; then
        echo "static: $binary has $bytes bytes, allowed are $bytes_max" >&2
        exit 1
    fi
    if [ "$HEARTBEAT_ARCH" = "$(uname -m)" ]; then
        "$binary" --version
        ln -f "$binary" "dist/$package"
    fi
    echo "$binary: $target, $bytes bytes"
done
