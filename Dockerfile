# syntax=docker/dockerfile:1
# From source to an image that holds one static binary and its licence. `make image` builds it;
# Dockerfile.dist makes the same image around a binary that is there already.

# No --platform: with `--platform linux/arm64` the compiler runs emulated, which is slow but needs
# no cross linker.
FROM docker.io/library/rust:1.88-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock LICENSE ./
COPY crates crates
COPY benches benches
COPY mk/static.sh mk/no-unwind-tables.ld mk/
ARG REVISION=unknown
# The target folder is a cache, and gone after this step; the result is not in it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    HEARTBEAT_REVISION="$REVISION" sh mk/static.sh heartbeat

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
COPY --from=build /src/dist/heartbeat /heartbeat
COPY LICENSE /LICENSE
# Numbers: scratch has no /etc/passwd, and Kubernetes' runAsNonRoot can not judge names.
USER 65532:65532
EXPOSE 8080
# Asks the port in HB_PORT; where the port is set with --port instead, set this one too.
HEALTHCHECK --interval=30s --timeout=3s --start-period=2s CMD ["/heartbeat", "healthcheck"]
ENTRYPOINT ["/heartbeat"]
