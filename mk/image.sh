#!/bin/sh
# Builds an image with whichever builder is there. BUILDER and IMAGE overrule; ARCH (amd64, arm64) is this
# machine's without a value.
#   sh mk/image.sh Dockerfile | Dockerfile.dist | Dockerfile.probe | Dockerfile.probe.dist
set -eu
cd "$(dirname "$0")/.."

file=$1
case $file in
Dockerfile.probe*) program=heartbeat-probe ;;
*) program=heartbeat ;;
esac
image=${IMAGE:-$program:dev}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
revision=${HEARTBEAT_REVISION:-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)}

# What keeps a builder from building, or nothing. docker may be a client without a daemon, or without the right to ask it.
obstacle() {
    if ! command -v "$1" >/dev/null; then
        echo "$1 is not installed"
    elif [ "$1" = docker ] && ! docker version >/dev/null 2>&1; then
        echo "docker is installed, but: $(docker version 2>&1 >/dev/null | tail -n 1)"
    fi
}
obstacles=
builder=${BUILDER:-}
for candidate in docker podman buildah; do
    [ -z "$builder" ] || break
    found=$(obstacle "$candidate")
    [ -n "$found" ] || builder=$candidate
    obstacles="$obstacles
  $found"
done
if [ -z "$builder" ]; then
    echo "image: nothing here builds images:$obstacles" >&2
    exit 1
fi

case ${ARCH:-$(uname -m)} in
amd64 | x86_64) arch=amd64 ;;
arm64 | aarch64) arch=arm64 ;;
*)
    echo "image: no image for ARCH=${ARCH:-$(uname -m)}: amd64 and arm64 are supported" >&2
    exit 1
    ;;
esac
set -- --file "$file" --tag "$image" --platform "linux/$arch" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
if [ "${file%.dist}" != "$file" ]; then
    if [ ! -x "dist/$arch/$program" ]; then
        echo "image: no dist/$arch/$program here: make static ARCH=$arch first" >&2
        exit 1
    fi
    # A scratch image has no roots for https of its own.
    if [ "$program" = heartbeat-probe ]; then
        cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" dist/ca-certificates.crt
    fi
    set -- "$@" --build-arg "TARGETARCH=$arch"
fi
# The OCI image format has no HEALTHCHECK: podman and buildah need the other one for it.
case $builder in
docker) docker build "$@" . ;;
podman) podman build --format docker "$@" . ;;
buildah) buildah build --format docker "$@" . ;;
*) "$builder" build "$@" . ;;
esac
echo "$image: built by $builder"
