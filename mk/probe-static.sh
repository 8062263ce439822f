#!/bin/sh
# Builds the static prober, and puts the image's roots for https beside it: a scratch image has none of its own.
set -eu
cd "$(dirname "$0")/.."

sh mk/static.sh heartbeat-probe
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" dist/ca-certificates.crt
