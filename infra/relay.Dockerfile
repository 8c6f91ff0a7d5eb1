# syntax=docker/dockerfile:1
# Image of the relay. It contains one static program and the certificates that it trusts, and nothing else: no shell, no package manager, no root.
FROM public.ecr.aws/docker/library/rust:1.95-alpine AS build
RUN apk add --no-cache build-base ca-certificates perl
WORKDIR /source
# As small as possible: a starting task downloads it first.
ENV CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin relay && cp target/release/relay /

FROM scratch AS relay
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
STOPSIGNAL SIGTERM
COPY --from=build /relay /relay
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/relay", "health"]
ENTRYPOINT ["/relay"]
