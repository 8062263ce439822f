#!/bin/sh
# Checks everything that ships the program: manifests, chart, GitOps samples, rules, dashboard, log parsers,
# seccomp profile, Dockerfiles, workflows, scripts, links of the pages. A line per check; fails where a check does, not where its tool
# is missing, unless REQUIRE_TOOLS=1. HEARTBEAT and HEARTBEAT_PROBE name binaries to check against, dist/heartbeat and
# dist/heartbeat-probe where they are there.
set -u
cd "$(dirname "$0")/.." || exit
. mk/tools-path.sh
. mk/checks.sh

# NAME TOOL...: whether all are there; says which is not.
have() {
    title=$1
    shift
    for tool in "$@"; do
        case $tool in
        py:*) python3 -c "import ${tool#py:}" 2>/dev/null ;;
        *) command -v "$tool" >/dev/null ;;
        esac || {
            skip "$title: no ${tool#py:} here (make tools)"
            return 1
        }
    done
}

chart=manifests/chart/heartbeat
monitoring=manifests/monitoring

if have "scripts" shellcheck; then
    check "scripts: shellcheck" shellcheck mk/*.sh mk/check-cluster/*.sh tests/*.sh .ci/run
fi

# --- images and workflows

last_stage() {
    sed -n '/^FROM scratch/,$p' "$1" | grep -v -e '^#' -e '^COPY .*/heartbeat' -e '^COPY .*\.crt' -e '^ARG TARGETARCH'
}
same_image() {
    for file in Dockerfile Dockerfile.probe; do
        last_stage "$file" >"$work/source"
        last_stage "$file.dist" | diff "$work/source" - || return
    done
}
check "images: both ways make the same one" same_image
if have "images" hadolint; then
    check "images: hadolint" hadolint Dockerfile Dockerfile.dist Dockerfile.probe Dockerfile.probe.dist
fi
if have "workflows" actionlint; then
    check "workflows: actionlint" actionlint .github/workflows/*.yml
fi
pinned() {
    ! grep -nE '^ *-? *uses: [^#]*@' .github/workflows/*.yml | grep -vE '@[0-9a-f]{40} # v[0-9]'
}
check "workflows: every action is pinned to a commit" pinned

# --- manifests

mkdir "$work/rendered" "$work/unrestricted"
render_kustomize() {
    for file in manifests/base/kustomization.yaml manifests/overlays/*/kustomization.yaml \
        manifests/gitops/flux/kustomization.yaml; do
        folder=$(dirname "${file#manifests/}")
        kustomize build "manifests/$folder" >"$work/rendered/$(echo "$folder" | tr / -).yaml" || return
    done
    kustomize build manifests/seccomp >"$work/unrestricted/seccomp.yaml"
}
# The admin port beside every component whose objects have to follow it.
render_admin_port() {
    mkdir "$work/admin-port"
    here=$(realpath --relative-to="$work/admin-port" manifests)
    {
        echo "resources: [$here/overlays/daemonset]"
        echo "components:"
        for name in probe mesh monitoring mesh-monitoring admin-port; do
            echo "  - $here/components/$name"
        done
    } >"$work/admin-port/kustomization.yaml"
    kustomize build "$work/admin-port" >"$work/rendered/components-admin-port.yaml"
}
if have "kustomize" kustomize; then
    check "kustomize: every base and overlay renders" render_kustomize
    check "kustomize: the admin port renders with all that follows it" render_admin_port
fi
check "pages: every link between them leads somewhere" python3 mk/check/links.py
# kustomize and Helm read no files above their own folders.
check "copies: each is the same as its source, none is a symbolic link" sh mk/copies.sh --check

lint_chart() {
    for values in "$chart"/values.yaml "$chart"/ci/*.yaml; do
        helm lint --strict --kube-version 1.37.0 --values "$values" "$chart" || return
    done
}
# As it is published: a file that was forgotten would be missing there.
package_chart() {
    helm package "$chart" --destination "$work"
}
render_chart() {
    for values in "$chart"/values.yaml "$chart"/ci/*.yaml; do
        name=$(basename "$values" .yaml)
        folder=rendered
        [ "$name" = hostnetwork-values ] && folder=unrestricted
        helm template heartbeat "$work"/heartbeat-*.tgz --namespace edge --kube-version 1.37.0 \
            --values "$values" >"$work/$folder/chart-$name.yaml" || return
    done
}
if have "chart" helm; then
    check "chart: helm lint --strict, over every set of values" lint_chart
    check "chart: helm package" package_chart
    check "chart: helm template, over every set of values" render_chart
    if have "chart" py:yaml; then
        check "chart: wrong values are refused, options and versions agree" python3 mk/check/chart.py
    fi
fi
if have "chart" helm-docs; then
    check "chart: its README is of its values" sh mk/chart-readme.sh --check
fi

binary=${HEARTBEAT:-dist/heartbeat}
[ -x "$binary" ] || binary=
if [ -z "$binary" ]; then
    skip "chart: no dist/heartbeat for the commands of helm test (make static)"
elif have "chart" helm py:yaml; then
    check "chart: the commands of helm test reach a server over IPv4 and IPv6" python3 mk/check/helm_test.py "$binary"
fi

rendered() {
    cp manifests/gitops/argocd/applicationset.yaml "$work/rendered/"
    mkdir "$work/recent" "$work/indexed"
    mv "$work/rendered/chart-recent-values.yaml" "$work/recent/"
    mv "$work/rendered/overlays-load-job.yaml" "$work"/rendered/chart-load-*.yaml "$work/indexed/"
    for file in "$work"/unrestricted/*.yaml; do
        set -- "$@" --unrestricted "$file"
    done
    python3 mk/check/rendered.py "$@" --kubernetes 1.27 1.30 1.34 1.37 -- "$work"/rendered/*.yaml &&
        python3 mk/check/rendered.py --kubernetes 1.30 1.34 1.37 -- "$work"/indexed/*.yaml &&
        python3 mk/check/rendered.py --kubernetes 1.37 -- "$work"/recent/*.yaml
}
if have "rendered objects" kustomize helm py:kubernetes_validate; then
    check "rendered objects: schemas, Pod Security restricted, references" rendered
fi

# --- monitoring

# Debian's promtool is built without the discovery of Kubernetes: the rest of the file is checked.
check_config() {
    sed -e 's/kubernetes_sd_configs:/static_configs:/' -e 's/- role: pod/- targets: []/' \
        -e "s|heartbeat.rules.yaml|$PWD/$monitoring/&|" "$monitoring/prometheus.yaml" >"$work/prometheus.yaml" &&
        promtool check config "$work/prometheus.yaml"
}
dashboard_queries() {
    python3 mk/check/monitoring.py --expressions >"$work/dashboard.yaml" &&
        promtool check rules "$work/dashboard.yaml"
}
if have "alerts" promtool; then
    check "alerts: promtool check rules" promtool check rules "$monitoring/heartbeat.rules.yaml"
    check "alerts: promtool test rules" promtool test rules "$monitoring"/*.test.yaml
    check "prometheus.yaml: promtool check config" check_config
    if have "dashboard" py:yaml; then
        check "dashboard: its queries parse" dashboard_queries
    fi
fi

prober=${HEARTBEAT_PROBE:-dist/heartbeat-probe}
[ -x "$prober" ] || prober=
if have "monitoring" py:yaml; then
    by=${binary:+, as $binary writes them}${prober:+, and $prober}
    check "monitoring: metrics of dashboard and alerts exist, log parsers parse$by" \
        python3 mk/check/monitoring.py ${binary:+"$binary"} ${prober:+"$prober"}
fi

# --- seccomp

# What this kernel refuses anyway, no profile can allow.
if [ -z "$binary" ]; then
    skip "seccomp: no dist/heartbeat to run under the profile (make static)"
elif [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" != 0 ]; then
    skip "seccomp: kernel.io_uring_disabled is set here"
elif have "seccomp" py:pyseccomp; then
    check "seccomp: io_uring under the profile, epoll without its three calls" \
        python3 manifests/seccomp/profile_test.py "$binary"
fi

summary check-manifests
