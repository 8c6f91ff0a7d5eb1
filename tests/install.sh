#!/usr/bin/env bash
# Installs the tools that the tests need in addition to Rust: into tests/.tools, and Chromium from the system's packages. Fast if everything is installed.
set -euo pipefail
cd "$(dirname "$0")"
source packages.sh

CARGO_DENY_VERSION=0.20.2

mkdir -p .tools
sh oracles.sh install

if ! .tools/bin/cargo-deny --version 2>/dev/null | grep -qx "cargo-deny $CARGO_DENY_VERSION"; then
    # It runs for a second: build time matters more than speed.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root .tools --target-dir .tools/build "cargo-deny@$CARGO_DENY_VERSION"
    rm -rf .tools/build
fi

if ! command -v chromium >/dev/null && [ -z "${CHROMIUM:-}" ]; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get update -q
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium
fi

# The compiler for the documentation's example in TypeScript.
node_packages examples.json .tools/examples-node

# Tools that check the console in the browser: accessibility, and the QR codes that it draws.
node_packages browser/package.json .tools/browser-node
