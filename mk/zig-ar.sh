#!/bin/sh
# The archiver beside mk/zig-cc.sh.
exec "$HEARTBEAT_ZIG" -m ziglang ar "$@"
