#!/bin/sh
# Builds etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl of one pinned release from Go
# modules, below the cache folder of mk/tools.sh. The first build takes about 20 minutes of CPU time; later calls end
# at once. GO_PARALLEL is the number of packages that are compiled at the same time (default 2). CONTROLLERS=no builds
# neither the controllers nor the scheduler.
set -eu
cd "$(dirname "$0")/../.."
. mk/tools-path.sh

KUBERNETES=1.37.2
ETCD=3.7.3

build=$TOOLS/cluster
bin=$build/bin
mkdir -p "$bin" "$build/kubernetes" "$build/etcd"
export CGO_ENABLED=0 GOFLAGS=-mod=mod GOWORK=off

if ! command -v go >/dev/null; then
    echo "check-cluster: the control plane is built by Go, which is not installed here" >&2
    exit 1
fi

# NAME VERSION: reports whether this version of the program is built already.
built() {
    [ "$(cat "$bin/.$1" 2>/dev/null)" = "$2" ]
}

# NAME VERSION PACKAGE FOLDER LDFLAGS
compile() {
    if built "$1" "$2"; then
        return
    fi
    (cd "$4" && nice -n 19 go build -p "${GO_PARALLEL:-2}" -trimpath -ldflags "-s -w $5" -o "$bin/$1" "$3")
    echo "$2" >"$bin/.$1"
    echo "check-cluster: built $1 $2"
}

# k8s.io/kubernetes replaces each of its staging modules by a folder of its own repository, and Go ignores the
# replacements of a dependency. This module repeats them with the published versions.
write_kubernetes_module() {
    folder=$build/kubernetes
    if [ "$(cat "$folder/.version" 2>/dev/null)" = "$KUBERNETES" ]; then
        return
    fi
    (
        cd "$folder"
        rm -f go.mod go.sum
        go mod init example.invalid/cluster
        source=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/^.*"GoMod": "\(.*\)",*$/\1/p')
        {
            echo "module example.invalid/cluster"
            sed -n -e '/^go /p' -e '/^godebug /p' "$source"
            echo "require k8s.io/kubernetes v$KUBERNETES"
            sed -n "s|^.*[[:space:]]\(k8s.io/[^ ]*\) => ./staging/.*|replace \1 => \1 v0.${KUBERNETES#1.}|p" "$source"
        } >go.mod
    ) >"$folder/log" 2>&1 || {
        cat "$folder/log" >&2
        exit 1
    }
    echo "$KUBERNETES" >"$folder/.version"
}

write_etcd_module() {
    cat >"$build/etcd/go.mod" <<END_OF_MODULE
module example.invalid/etcd

require go.etcd.io/etcd/server/v3 v$ETCD
END_OF_MODULE
}

version=k8s.io/component-base/version
minor=${KUBERNETES#1.}
flags="-X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}"

if ! built etcd "$ETCD"; then
    write_etcd_module
    compile etcd "$ETCD" go.etcd.io/etcd/server/v3 "$build/etcd" ""
fi
write_kubernetes_module
controllers="kube-controller-manager kube-scheduler"
[ "${CONTROLLERS:-yes}" != no ] || controllers=
for program in kube-apiserver $controllers kubectl; do
    compile "$program" "$KUBERNETES" "k8s.io/kubernetes/cmd/$program" "$build/kubernetes" "$flags"
done
