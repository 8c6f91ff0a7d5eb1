#!/usr/bin/env bash
# Builds the programs and prints their folder: the functions as `sam build` makes them, which reuses them later, the other two
# optimized as by `cargo run --release`.
set -euo pipefail
cd "$(dirname "$0")/.."

sh tests/aws/install.sh
target=${CARGO_TARGET_DIR:-$PWD/target}

# Packages are named, so that each function is built with the same features as when it is built alone. Only binaries: as a final artifact a
# library would have all that it needs compiled once more.
functions=(webhook dispatcher runner admin)
PATH="$PWD/tests/.tools/sam/bin:$PATH" CARGO_LAMBDA_COMPILER=cargo \
    cargo lambda build --release --locked --bins "${functions[@]/#/--package=tieline-fn-}" >&2

# Optimized within crates only, and with the features of the whole workspace: optimized tests share the compiled crates. Images and archives are
# smaller, but take twice the time.
cargo build --release --locked --workspace --bin tieline --bin relay >&2

programs=$target/programs
mkdir -p "$programs"
for program in "${functions[@]}"; do
    install -m 755 "$target/lambda/$program/bootstrap" "$programs/$program"
done
install -m 755 "$target/release/tieline" "$target/release/relay" "$programs"
echo "$programs"
