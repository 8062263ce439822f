#!/bin/sh
# Checks with tools that know what often goes wrong in projects of this kind: workflows (zizmor), images and manifests
# (checkov), Markdown (markdownlint), dependencies (cargo-deny). Exceptions and their reasons are in .checkov.yaml,
# .markdownlint-cli2.yaml and deny.toml. Installs the tools below the cache folder; fails where a check does, not where its
# tool is missing, unless REQUIRE_TOOLS=1.
set -u
cd "$(dirname "$0")/.." || exit
# shellcheck source=mk/tools-path.sh disable=SC1091
. mk/tools-path.sh
. mk/checks.sh
log=$work/log
rendered=$work/chart
mkdir -p "$TOOLS" "$rendered"

# A helm that Go has installed takes an old version of Kubernetes for granted. The pod of the chart's test ends by itself:
# it serves nothing that a probe could ask.
render_chart() {
    helm template heartbeat manifests/chart/heartbeat --namespace heartbeat --kube-version 1.37.0 --skip-tests \
        --output-dir "$rendered"
}

if ! cmp -s mk/requirements-audit.txt "$TOOLS/audit/requirements-audit.txt" &&
    python3 -m venv "$TOOLS/audit" &&
    "$TOOLS/audit/bin/pip" install --quiet --disable-pip-version-check -r mk/requirements-audit.txt; then
    cp mk/requirements-audit.txt "$TOOLS/audit/"
fi
if [ -e "$TOOLS/audit/requirements-audit.txt" ]; then
    check "workflows: zizmor" "$TOOLS/audit/bin/zizmor" --offline --quiet .github
    # It asks for pages of its maker at the start, and goes on without.
    export LOG_LEVEL=ERROR
    check "images, workflows, manifests: checkov" "$TOOLS/audit/bin/checkov" --directory .
    # The installer of the profile copies a file and sleeps: it serves nothing that a probe could ask.
    check "seccomp installer: checkov" "$TOOLS/audit/bin/checkov" --file manifests/seccomp/installer.yaml \
        --skip-check "CKV_K8S_8,CKV_K8S_9,CKV_K8S_11,CKV_K8S_15,CKV_K8S_21,CKV_K8S_43"
    if command -v helm >/dev/null; then
        check "chart: helm template" render_chart
        check "chart: checkov" "$TOOLS/audit/bin/checkov" --directory "$rendered"
    else
        skip "chart: no helm here (make tools)"
    fi
else
    skip "workflows, images, manifests: zizmor and checkov could not be installed"
fi

if ! command -v npm >/dev/null; then
    skip "Markdown: no npm here"
elif npm install --silent --no-audit --no-fund --prefix "$TOOLS/markdownlint" markdownlint-cli2@0.22.1 >"$log" 2>&1; then
    check "Markdown: markdownlint" "$TOOLS/markdownlint/node_modules/.bin/markdownlint-cli2" "**/*.md"
else
    skip "Markdown: markdownlint could not be installed: $(tail -n 1 "$log")"
fi

deny=$TOOLS/audit/bin/cargo-deny
if ! [ -x "$deny" ]; then
    skip "dependencies: cargo-deny could not be installed"
else
    check "dependencies: cargo deny, licences, bans, sources" "$deny" --offline check bans licenses sources
    if "$deny" fetch db >"$log" 2>&1; then
        check "dependencies: cargo deny, advisories" "$deny" check advisories
    else
        skip "dependencies: the advisories could not be fetched: $(grep . "$log" | tail -n 1)"
    fi
fi

summary audit
