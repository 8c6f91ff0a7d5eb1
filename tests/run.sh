#!/usr/bin/env bash
# Runs what CI runs: format, lints, docs, licences, tests of every crate, whole-system scenarios, the vendors' own clients, the
# deployment. Installs what that needs.
#
#   tests/run.sh         everything
#   tests/run.sh quick   before each commit: format, lints, tests of the crates; nothing is installed
#
# TIELINE_SEEDS is the number of simulated seeds, or a range such as 10000..20000. Default: 10000.
set -euo pipefail
cd "$(dirname "$0")/.."

# Not for unoptimized tests.
seeds=${TIELINE_SEEDS:-10000}
unset TIELINE_SEEDS

stage() {
    printf '\n== %s  (%d s so far)\n' "$1" "$SECONDS"
}

# Tests that failed beside the others and passed alone.
unstable=$(mktemp)

finish() {
    while read -r test; do
        printf 'UNSTABLE: %s failed beside the others and passed alone.\n' "$test" >&2
    done <"$unstable"
    printf '\nAll passed in %d s.\n' "$SECONDS"
}

case "${1:-full}" in
    full) ;;
    quick)
        stage "format"
        cargo fmt --all --check
        stage "lints"
        cargo clippy --workspace --all-targets --locked -- -D warnings
        stage "tests of the crates"
        crates=(--exclude tieline-tests --exclude tieline-models --exclude tieline-simulation)
        python3 tests/run_parallel.py "$unstable" "${crates[@]}"
        cargo test --workspace --locked --doc "${crates[@]}"
        finish
        exit
        ;;
    *)
        echo "unknown argument $1; known: quick" >&2
        exit 2
        ;;
esac

# Downloads mostly wait, and format, lints and docs need nothing of it.
stage "install, beside the next three stages"
installing=$(mktemp)
{
    bash tests/install.sh
    sh tests/aws/install.sh
    bash tests/sdks/run.sh install
    bash tests/sdks/agents.sh install
    bash tests/api_clients/run.sh install
} >"$installing" 2>&1 &
installer=$!
trap 'kill "$installer" 2>/dev/null || true' EXIT

stage "format"
cargo fmt --all --check

stage "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

stage "docs"
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --locked --quiet

stage "the rest of install"
wait "$installer" || { cat "$installing" >&2; exit 1; }

stage "licences, bans and sources"
tests/.tools/bin/cargo-deny --locked check licenses bans sources
# The database of advisories is a repository on the internet.
if tests/.tools/bin/cargo-deny --locked fetch db; then
    tests/.tools/bin/cargo-deny --locked check advisories
else
    echo "SKIPPED: advisories are not checked, because their database can't be fetched from here" >&2
fi

stage "programs as they are released"
TIELINE_BIN_DIR=$(bash tests/programs.sh)
export TIELINE_BIN_DIR

stage "tests"
eval "$(sh tests/oracles.sh start)"
trap 'sh tests/oracles.sh stop' EXIT
python3 tests/run_parallel.py "$unstable"
cargo test --workspace --locked --doc

# Both are named in each, so that crates are compiled once, with the same features.
optimized=(cargo test --release --locked --package tieline-connectors --package tieline-simulation)
stage "rendering takes time in proportion to the text"
"${optimized[@]}" --test rendering_time -- rendering_time

stage "simulation of $seeds seeds"
TIELINE_SEEDS=$seeds "${optimized[@]}" --test simulation -- --nocapture

stage "vendors' own clients"
bash tests/sdks/run.sh
bash tests/sdks/agents.sh

stage "clients generated from the API's description"
bash tests/api_clients/run.sh

stage "deployment"
bash tests/aws/run.sh

finish
