#!/usr/bin/env bash
# Builds the programs as released, optimized across crates, and prints their folder. A later `sam build` reuses
# them. A plain `cargo build --release` builds the same programs faster, but they are somewhat larger and slower.
set -euo pipefail
cd "$(dirname "$0")/.."

sh tests/aws/install.sh
target=${CARGO_TARGET_DIR:-$PWD/target}

# Packages are named, so that each function is built with the same features as when it is built alone; the other two have more features.
# Only binaries: as a final artifact a library would have all that it needs compiled once more.
build() {
    PATH="$PWD/tests/.tools/sam/bin:$PATH" CARGO_LAMBDA_COMPILER=cargo \
        cargo lambda build --release --locked --bins "${@/#/--package=tieline-}" >&2
}
build fn-webhook fn-dispatcher fn-runner fn-admin
build standalone relay

programs=$target/programs
mkdir -p "$programs"
for program in webhook dispatcher runner admin tieline relay; do
    install -m 755 "$target/lambda/$program/bootstrap" "$programs/$program"
done
echo "$programs"
