#!/usr/bin/env bash
# Runs what CI runs: format, lints, docs, licences, tests of every crate, whole-system scenarios. Installs what that needs.
set -euo pipefail
cd "$(dirname "$0")/.."

stage() {
    printf '\n== %s  (%d s so far)\n' "$1" "$SECONDS"
}

stage "install"
bash tests/install.sh

stage "format"
cargo fmt --all --check

stage "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

stage "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked --quiet

stage "licences and bans"
tests/.tools/bin/cargo-deny --locked check licenses bans

stage "release binaries"
cargo build --workspace --bins --release --locked

stage "tests"
eval "$(sh tests/oracles.sh start)"
trap 'sh tests/oracles.sh stop' EXIT
cargo test --workspace --locked

printf '\nAll passed in %d s.\n' "$SECONDS"
