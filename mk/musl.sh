# shellcheck shell=sh
# To be sourced, from the root of the repository: prepares builds for musl and the architecture in ARCH (amd64 or
# arm64; without it this machine's). Sets `arch`, `target` and `bin`. Rust brings musl and the linker, Zig the compiler for
# the C code of mimalloc and ring: the same ones on every machine, whatever else is installed.
# shellcheck source=mk/tools-path.sh disable=SC1091
. mk/tools-path.sh

arch=${ARCH:-$(uname -m)}
case $arch in
amd64 | x86_64) arch=amd64 HEARTBEAT_ARCH=x86_64 ;;
arm64 | aarch64) arch=arm64 HEARTBEAT_ARCH=aarch64 ;;
*)
    echo "musl: no build for ARCH=$arch: amd64 and arm64 are supported" >&2
    exit 1
    ;;
esac
target=$HEARTBEAT_ARCH-unknown-linux-musl
# shellcheck disable=SC2034 # For the scripts that source this.
bin=${CARGO_TARGET_DIR:-target}/$target

if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    if ! command -v rustup >/dev/null; then
        echo "musl: this Rust toolchain has no $target, and there is no rustup to add it" >&2
        exit 1
    fi
    rustup target add "$target"
fi

# Python's registry has a Zig for every machine that builds.
if ! cmp -s mk/requirements-zig.txt "$TOOLS/zig/requirements-zig.txt"; then
    mkdir -p "$TOOLS"
    if ! python3 -m venv "$TOOLS/zig" ||
        ! "$TOOLS/zig/bin/pip" install --quiet --disable-pip-version-check -r mk/requirements-zig.txt; then
        echo "musl: no Zig to compile C code with: it takes python3 with venv, and a network at the first time" >&2
        exit 1
    fi
    cp mk/requirements-zig.txt "$TOOLS/zig/"
fi
HEARTBEAT_ZIG=$TOOLS/zig/bin/python3
export HEARTBEAT_ARCH HEARTBEAT_ZIG

# The names that Cargo and the cc crate read.
name=$(echo "$target" | tr - _)
export "CC_$name=$PWD/mk/zig-cc.sh" "AR_$name=$PWD/mk/zig-ar.sh"
export "CARGO_TARGET_$(echo "$name" | tr '[:lower:]' '[:upper:]')_LINKER=rust-lld"
