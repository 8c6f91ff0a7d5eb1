#!/usr/bin/env bash
# Builds the programs as they are released, and prints the folder that they are in: functions as `sam build` packs them, the others as
# `cargo build --release` makes them. What `sam build` makes afterwards is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

sh tests/aws/install.sh
target=${CARGO_TARGET_DIR:-$PWD/target}
functions=(webhook dispatcher runner admin)

cargo build --release --locked --bin tieline --bin relay >&2
# The packages are named, so that all four are built with the features that each of them is built with alone.
PATH="$PWD/tests/.tools/sam/bin:$PATH" CARGO_LAMBDA_COMPILER=cargo \
    cargo lambda build --release --locked "${functions[@]/#/--package=tieline-fn-}" >&2

programs=$target/programs
mkdir -p "$programs"
install -m 755 "$target/release/tieline" "$target/release/relay" "$programs"
for function in "${functions[@]}"; do
    install -m 755 "$target/lambda/$function/bootstrap" "$programs/$function"
done
echo "$programs"
