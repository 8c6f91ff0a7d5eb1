#!/usr/bin/env bash
# Renders the pictures of answers in docs/pictures/answers from what the platforms' simulators show.
#
#   tests/pictures.sh
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --workspace --bins --locked
export TIELINE_BIN_DIR=${CARGO_TARGET_DIR:-$PWD/target}/debug
TIELINE_WRITE_PICTURES=1 cargo test --locked -p tieline-tests --test every_platform -- pictures_of_the_documents
