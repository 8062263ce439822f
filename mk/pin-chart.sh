#!/bin/sh
# Writes the digests of a release's images into the list of images of a chart's folder, as the release workflow does before it
# packages the chart. The chart then names its images by digest, unless the values name another registry, repository or tag.
#   sh mk/pin-chart.sh FOLDER IMAGE@sha256:DIGEST...
set -eu

chart=$1/Chart.yaml
shift
version=$(sed -n 's/^appVersion: //p' "$chart")
for image; do
    name=${image%@*}
    digest=${image##*@}
    if ! echo "$digest" | grep -qE '^sha256:[0-9a-f]{64}$'; then
        echo "pin-chart: $image has no digest: expected IMAGE@sha256: and 64 hexadecimal digits" >&2
        exit 1
    fi
    if ! grep -qE "^ +image: $name:$version(@.*)?\$" "$chart"; then
        echo "pin-chart: $chart lists no image $name:$version" >&2
        exit 1
    fi
    sed -E "s|^( +image: $name:$version)(@.*)?\$|\\1@$digest|" "$chart" >"$chart.new"
    mv "$chart.new" "$chart"
done
