#!/bin/sh
# The rules of manifests/monitoring as a PrometheusRule, on standard output. kustomize cannot include a file
# into an object, so mk/copies.sh keeps the result in components/monitoring, and check-manifests compares the two.
set -eu
cd "$(dirname "$0")/../manifests/monitoring"
cat <<'END'
# Written by mk/prometheusrule.sh from manifests/monitoring/heartbeat.rules.yaml: edit that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: heartbeat
  labels:
    app.kubernetes.io/name: heartbeat
spec:
END
sed -n '/^groups:/,$p' heartbeat.rules.yaml | sed 's/^\(.\)/  \1/'
