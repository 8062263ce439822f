#!/bin/sh
# Builds an image with whichever builder is there. BUILDER, IMAGE and PLATFORM overrule.
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

# docker may be a client without a server.
usable() {
    case $1 in
    docker) docker version >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null ;;
    esac
}
builder=${BUILDER:-}
for candidate in docker podman buildah; do
    if [ -z "$builder" ] && usable "$candidate"; then
        builder=$candidate
    fi
done
if [ -z "$builder" ]; then
    echo "image: no docker, podman or buildah here" >&2
    exit 1
fi

set -- --file "$file" --tag "$image" --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
if [ -n "${PLATFORM:-}" ]; then
    set -- "$@" --platform "$PLATFORM"
fi
if [ "${file%.dist}" != "$file" ]; then
    case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    *) arch=$(uname -m) ;;
    esac
    if [ ! -x "dist/$program" ]; then
        echo "image: no dist/$program here: make static (probe-static) first" >&2
        exit 1
    fi
    mkdir -p "dist/$arch"
    ln -f "dist/$program" "dist/$arch/$program"
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
