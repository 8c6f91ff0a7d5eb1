#!/usr/bin/env bash
# Builds the programs as they are released, optimized across crates, and prints the folder that they are in. What `sam build` makes
# afterwards is there already. A plain `cargo build --release` makes the same programs sooner, somewhat larger and slower.
set -euo pipefail
cd "$(dirname "$0")/.."

sh tests/aws/install.sh
target=${CARGO_TARGET_DIR:-$PWD/target}

# Packages are named, so that the functions are built with the features that each of them is built with alone; the other two, which have
# more, share what needs none of these.
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
