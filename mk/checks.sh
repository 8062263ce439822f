# shellcheck shell=sh
# To be sourced: a line per check, and what all of them come to. The script's own folder is $work; it goes at the end.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
skipped=0

# NAME COMMAND...: runs it, and shows what it wrote only where it fails.
check() {
    title=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok    $title"
    else
        echo "FAIL  $title"
        grep -v '^walk.go' "$work/log" | sed 's/^/      /'
        failed=$((failed + 1))
    fi
}

# TEXT: what is left out, and why.
skip() {
    echo "skip  $1"
    skipped=$((skipped + 1))
}

# NAME: how many failed. Fails if any did, or if one was left out and REQUIRE_TOOLS=1.
summary() {
    echo "$1: $failed failed, $skipped skipped"
    [ "$failed" = 0 ] && { [ "$skipped" = 0 ] || [ "${REQUIRE_TOOLS:-}" != 1 ]; }
}
