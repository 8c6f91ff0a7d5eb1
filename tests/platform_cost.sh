#!/usr/bin/env bash
# Prints the size of each platform, as in the table in ARCHITECTURE.md: lines of its connector without tests, of its vectors, of its
# simulator, and the number of files outside its own folders that the commit changed which added it.
#
#   tests/platform_cost.sh
#
# Needs the repository's history.
set -euo pipefail
cd "$(dirname "$0")/.."

rust_lines() {
    find "$@" -name '*.rs' ! -name tests.rs ! -path '*/tests/*' -exec cat {} + | wc -l
}

echo "| platform | connector | vectors | simulator | files elsewhere |"
echo "|---|---|---|---|---|"
for manifest in crates/connectors/src/*/manifest.rs; do
    folder=$(dirname "$manifest")
    platform=$(basename "$folder")
    simulators=()
    for simulator in "tests/src/$platform" "tests/src/${platform}_socket"; do
        if [ -d "$simulator" ]; then simulators+=("$simulator"); fi
    done
    simulated=-
    if [ "${#simulators[@]}" -gt 0 ]; then simulated=$(rust_lines "${simulators[@]}"); fi
    commit=$(git log --diff-filter=A --format=%H -- "$folder" | tail -1)
    # Dependencies, the row in the README and the platform's page are not code.
    elsewhere=$(git show --format= --name-only "$commit" -- '*.rs' |
        grep -cEv "^(crates/connectors/src/$platform|tests/src/${platform}(_socket)?|docs)/" || true)
    echo "| \`$platform\` | $(rust_lines "$folder") | $(find "$folder" -name '*.json' | wc -l) | $simulated | $elsewhere |"
done
