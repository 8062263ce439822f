#!/bin/sh
# Runs the static arm64 programs of dist/arm64 on this machine: on arm64 as they are, elsewhere under QEMU's user mode
# emulation, which has no io_uring: the server runs over epoll. The prober asks the server what make smoke asks, and this
# machine's own test programs take the server instead of one of their own.
set -eu
cd "$(dirname "$0")/.."

programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
emulator=
if [ "$(uname -m)" != aarch64 ]; then
    emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || {
        echo "test-arm64: no qemu-aarch64-static here (Debian: qemu-user-static)" >&2
        exit 1
    }
fi
for program in heartbeat heartbeat-probe; do
    if ! [ -x "dist/arm64/$program" ]; then
        echo "test-arm64: no dist/arm64/$program here: make static ARCH=arm64 first" >&2
        exit 1
    fi
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$emulator" "$PWD/dist/arm64/$program" >"$programs/$program"
    chmod +x "$programs/$program"
    "$programs/$program" --version
done

HEARTBEAT=$programs/heartbeat HEARTBEAT_PROBE=$programs/heartbeat-probe sh mk/smoke.sh
# The others measure the memory of the process, which may be the emulator's, or need io_uring.
HEARTBEAT_EMULATED=$emulator HEARTBEAT_PROGRAM=$programs/heartbeat cargo test --no-fail-fast --package heartbeat \
    --test access_log --test command_line --test drain --test faults --test gigabyte --test life --test metrics
