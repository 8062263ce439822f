#!/bin/sh
# Installs what check-manifests needs, in pinned versions, below the cache folder of whoever calls: nothing is
# installed into the system. HEARTBEAT_TOOLS names another folder. What cannot be had is named in one line, and
# is no failure here: check-manifests then leaves out what needs it.
set -u
cd "$(dirname "$0")/.." || exit
. mk/tools-path.sh
mkdir -p "$TOOLS/bin"

missing() {
    echo "tools: no $1: $2" >&2
}

# NAME MODULE VERSION: by Go, unless that very version is there.
go_tool() {
    if [ "$(cat "$TOOLS/bin/.$1" 2>/dev/null)" = "$3" ]; then
        return
    fi
    if ! command -v go >/dev/null; then
        missing "$1" "it is built by Go, which is not here"
    elif GOBIN=$TOOLS/bin GOFLAGS=-mod=mod go install "$2@$3" 2>"$TOOLS/log"; then
        echo "$3" >"$TOOLS/bin/.$1"
        echo "tools: $1 $3"
    else
        missing "$1" "$(tail -n 1 "$TOOLS/log")"
    fi
}

go_tool helm helm.sh/helm/v3/cmd/helm v3.22.0
go_tool kustomize sigs.k8s.io/kustomize/kustomize/v5 v5.8.2
go_tool helm-docs github.com/norwoodj/helm-docs/cmd/helm-docs v1.14.2
go_tool actionlint github.com/rhysd/actionlint/cmd/actionlint v1.7.12

# Python's: an environment of their own.
python_tools="hadolint, kubernetes-validate, pyseccomp"
if ! cmp -s mk/requirements.txt "$TOOLS/venv/requirements.txt"; then
    if ! python3 -m venv "$TOOLS/venv" >"$TOOLS/log" 2>&1; then
        missing "$python_tools" "python3 with venv is not here"
    elif "$TOOLS/venv/bin/pip" install --quiet --disable-pip-version-check -r mk/requirements.txt 2>"$TOOLS/log"; then
        cp mk/requirements.txt "$TOOLS/venv/"
        echo "tools: $python_tools"
    else
        missing "$python_tools" "$(tail -n 1 "$TOOLS/log")"
    fi
fi

# Debian's, taken out of their packages: installing the one of promtool would start a Prometheus.
# PACKAGE NAME...
debian_tools() {
    package=$1
    shift
    absent=
    for name; do
        command -v "$name" >/dev/null || absent=yes
    done
    if [ -z "$absent" ]; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        missing "$*" "it comes from a Debian package, and there is no apt-get here"
        return
    fi
    packages=$(mktemp -d)
    (
        cd "$packages" || exit 1
        apt-get download "$package" || { apt-get update --quiet && apt-get download "$package"; }
        dpkg --extract ./*.deb .
    ) >"$TOOLS/log" 2>&1
    for name; do
        if mv "$packages/usr/bin/$name" "$TOOLS/bin/$name" 2>/dev/null; then
            echo "tools: $name from Debian's $package"
        else
            missing "$name" "$(tail -n 1 "$TOOLS/log")"
        fi
    done
    rm -rf "$packages"
}

debian_tools prometheus promtool prometheus
debian_tools shellcheck shellcheck
exit 0
