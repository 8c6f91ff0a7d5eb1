#!/usr/bin/env bash
# Builds the programs and prints their folder: functions and relay optimized across crates, as `sam build` makes the former, which reuses them later,
# and the image has the latter; the standalone program as `cargo run --release` builds it.
set -euo pipefail
cd "$(dirname "$0")/.."

sh tests/aws/install.sh
target=${CARGO_TARGET_DIR:-$PWD/target}

# Packages are named, so that each program is built with the same features as when it is built alone: `tieline-aws` gives all the same ones. Only
# binaries: as a final artifact a library would have all that it needs compiled once more.
packages=(fn-webhook fn-dispatcher fn-runner fn-admin relay)
PATH="$PWD/tests/.tools/sam/bin:$PATH" CARGO_LAMBDA_COMPILER=cargo \
    cargo lambda build --release --locked --bins "${packages[@]/#/--package=tieline-}" >&2

cargo build --release --locked --bin tieline >&2

programs=$target/programs
mkdir -p "$programs"
for program in webhook dispatcher runner admin relay; do
    install -m 755 "$target/lambda/$program/bootstrap" "$programs/$program"
done
install -m 755 "$target/release/tieline" "$programs/tieline"
echo "$programs"
