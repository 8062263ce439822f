#!/bin/sh
# Checks which tags a release moves.
set -eu
cd "$(dirname "$0")/.."

# VERSION TAGS EXPECTED: TAGS and EXPECTED are words.
expect() {
    found=$(echo "$2" | tr ' ' '\n' | sh mk/image-tags.sh "$1" | tr '\n' ' ')
    if [ "$found" != "$3 " ]; then
        echo "image-tags: $1 beside \"$2\" gave \"$found\", expected \"$3 \"" >&2
        exit 1
    fi
}

expect 0.6.0 "" "0.6.0 0.6 latest"
expect 0.6.0 "v0.6.0" "0.6.0 0.6 latest"
expect 0.6.1 "v0.6.0 v0.6.1" "0.6.1 0.6 latest"
expect 0.6.10 "v0.6.9 v0.6.10 v0.6.2" "0.6.10 0.6 latest"
# A fix of an older minor version, a late fix of an older patch.
expect 0.5.7 "v0.5.6 v0.6.0" "0.5.7 0.5"
expect 0.6.1 "v0.6.2 v0.7.0" "0.6.1"
expect 0.6.1 "v0.6.0 v0.10.0" "0.6.1 0.6"
expect 0.6.1 "v0.60.3 v0.6.0" "0.6.1 0.6"
# Candidates, before and beside releases.
expect 0.7.0-rc.1 "v0.6.0 v0.7.0-rc.1" "0.7.0-rc.1"
expect 0.6.1 "v0.6.0 v0.7.0-rc.1" "0.6.1 0.6 latest"
if sh mk/image-tags.sh "0.6.0 latest" </dev/null 2>/dev/null; then
    echo "image-tags: two words are taken for a version" >&2
    exit 1
fi
echo "image-tags: all as it should be"
