# The router as an image: one static program, the Rust guests, a configuration that shows them. No shell, no package manager,
# nothing that has to be written except /var/lib/saf.
#
#   docker build --tag saf-runtime .
#   docker run --read-only --publish 127.0.0.1:1378:1378 --volume saf:/var/lib/saf --env SAF__HTTP__ALLOW_ANONYMOUS=true saf-runtime
#
# `cargo xtask dist` makes the same image, as an OCI layout, without a container engine.

# The same release of Rust as in rust-toolchain.toml.
FROM rust:1.95.0-bookworm AS build
# A C compiler that links with musl, for the few C files of dependencies.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends musl-tools \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo xtask dist --root /image \
 && cp --parents /etc/ssl/certs/ca-certificates.crt /image

FROM scratch AS runtime
COPY --from=build /image/saf-runtime /saf-runtime
COPY --from=build /image/etc /etc
COPY --from=build /image/guests /guests
# The one place that the router writes to. A volume that is mounted there for the first time takes its owner over.
COPY --from=build --chown=65532:65532 /image/var/lib/saf /var/lib/saf
ENV SAF_CONFIG=/etc/saf/router.toml
USER 65532:65532
VOLUME /var/lib/saf
EXPOSE 1378 1379
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/saf-runtime", "health"]
ENTRYPOINT ["/saf-runtime"]
