# syntax=docker/dockerfile:1
# From source to an image that holds one static binary and its licence. `make image` builds it;
# Dockerfile.dist makes the same image around a binary that is there already.

# The compiler runs on the machine that builds, whichever one the image is for.
# hadolint ignore=DL3029
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.88-slim-bookworm AS build
# Python brings the compiler for C code, by mk/musl.sh.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY mk/musl.sh mk/requirements-zig.txt mk/static.sh mk/tools-path.sh mk/zig-ar.sh mk/zig-cc.sh mk/
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY benches benches
# amd64 or arm64. BuildKit sets it for each platform of a build.
ARG TARGETARCH
ARG REVISION=unknown
# The target folder is a cache, and gone after this step; the result is not in it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    HEARTBEAT_REVISION="$REVISION" ARCH="$TARGETARCH" sh mk/static.sh heartbeat \
    && cp "dist/$TARGETARCH/heartbeat" /heartbeat

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="heartbeat" \
      org.opencontainers.image.description="A tiny HTTP server that answers with exactly as many bytes as the URL asks for" \
      org.opencontainers.image.source="https://github.com/bartr/heartbeat" \
      org.opencontainers.image.documentation="https://github.com/bartr/heartbeat/blob/main/docs/DEPLOYING.md" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /heartbeat /heartbeat
COPY LICENSE /LICENSE
# Numbers: scratch has no /etc/passwd, and Kubernetes' runAsNonRoot can not judge names.
USER 65532:65532
EXPOSE 8080
# Asks the port in HB_PORT; where the port is set with --port instead, set this one too.
HEALTHCHECK --interval=30s --timeout=3s --start-period=2s CMD ["/heartbeat", "healthcheck"]
ENTRYPOINT ["/heartbeat"]
