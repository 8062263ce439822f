#!/bin/sh
# Builds a control plane if there is none yet, and applies everything to it. What it takes, and the table that it prints,
# is in matrix.py.
set -eu
cd "$(dirname "$0")/../.."
. mk/tools-path.sh

sh mk/check-cluster/build.sh
sh mk/tools.sh
for tool in helm openssl; do
    if ! command -v "$tool" >/dev/null; then
        echo "check-cluster: needs $tool" >&2
        exit 1
    fi
done
PATH=$TOOLS/cluster/bin:$PATH exec python3 mk/check-cluster/matrix.py
