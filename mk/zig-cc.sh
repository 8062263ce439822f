#!/bin/sh
# The C compiler of a static build, as Rust's build scripts call it: Zig's clang, which brings musl's headers for
# every architecture. They pass Rust's name of the target, which Zig does not know; HEARTBEAT_ARCH says the same.
for argument; do
    shift
    case $argument in
    --target=*) ;;
    *) set -- "$@" "$argument" ;;
    esac
done
# Zig would add checks of its own to a build without optimization.
exec "$HEARTBEAT_ZIG" -m ziglang cc -target "$HEARTBEAT_ARCH-linux-musl" -fno-sanitize=undefined "$@"
