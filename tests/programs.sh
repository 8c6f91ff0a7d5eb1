#!/usr/bin/env bash
# Builds the release binaries, optimized across crates, and prints their folder. `sam build` reuses the result.
# A plain `cargo build --release` is faster and makes equivalent programs, somewhat larger and slower.
set -euo pipefail
cd "$(dirname "$0")/.."

sh tests/aws/install.sh
target=${CARGO_TARGET_DIR:-$PWD/target}

# Packages are built in groups, so that the functions have the same features as when each is built alone; the other two programs have
# more features, and share what doesn't depend on them.
build() {
    PATH="$PWD/tests/.tools/sam/bin:$PATH" CARGO_LAMBDA_COMPILER=cargo \
        cargo lambda build --release --locked "${@/#/--package=tieline-}" >&2
}
build fn-webhook fn-dispatcher fn-runner fn-admin
build standalone relay

programs=$target/programs
mkdir -p "$programs"
for program in webhook dispatcher runner admin tieline relay; do
    install -m 755 "$target/lambda/$program/bootstrap" "$programs/$program"
done
echo "$programs"
