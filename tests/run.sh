#!/usr/bin/env bash
# Runs what CI runs: lints, tests of every crate.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --workspace --all-targets --locked
cargo test --workspace --locked
