# syntax=docker/dockerfile:1
# Images of the programs that run in containers: `--target relay` (the last, so the default) and `--target runner`.
# Each holds one static program and the certificates it trusts, and nothing else: no shell, no package manager, no root.
FROM public.ecr.aws/docker/library/rust:1.95-alpine AS build
RUN apk add --no-cache build-base ca-certificates perl
WORKDIR /source
# As small as can be: a task that starts downloads it first.
ENV CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin relay --bin runner && cp target/release/relay target/release/runner /

FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
STOPSIGNAL SIGTERM

FROM base AS runner
COPY --from=build /runner /runner
ENTRYPOINT ["/runner"]

FROM base AS relay
COPY --from=build /relay /relay
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/relay", "health"]
ENTRYPOINT ["/relay"]
