#!/usr/bin/env bash
# Shows that the vendors' published clients, or the most used independent ones, work against our simulators, so that the simulators don't
# only reflect our own reading of the protocol.
#
#   tests/sdks/run.sh           all clients
#   tests/sdks/run.sh lark.py   one of them
#   tests/sdks/run.sh install   none; only installs them
#
# Each connects, receives a message and answers it; several get an error first and must report its reason. A client has the name of the
# platform in `simulate`. Needs python3, node and npm; the clients are installed into tests/.tools.
set -euo pipefail
cd "$(dirname "$0")"
source ../packages.sh

tools=$PWD/../.tools
venv=$tools/sdks-python
node=$tools/sdks-node
target=${CARGO_TARGET_DIR:-../../target}

# A Node client runs from the folder of the modules that it imports; with -I a Python client's own folder never shadows a module.
interpret() {
    case $1 in
        *.py) exec "$venv/bin/python" -I "$1" ;;
        *.mjs) cp "$1" "$node/" && exec node "$node/$1" ;;
    esac
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

try() {
    client=$1
    platform=${client%.*}
    said=$(mktemp)
    # The address at which the platform calls the client, for clients that are called.
    CALLBACK=http://127.0.0.1:$(free_port)/
    export CALLBACK
    "$target/debug/simulate" "$platform" >"$said" 2>&1 &
    simulator=$!
    until [ -s "$said" ]; do
        kill -0 "$simulator" 2>/dev/null || break
        sleep 0.05
    done
    SIMULATOR=$(head -n 1 "$said") interpret "$client" >"$said.client" 2>&1 &
    running=$!
    passed=0
    wait "$simulator" || passed=1
    kill "$running" 2>/dev/null || true
    wait "$running" 2>/dev/null || true
    echo "== $client"
    tail -n +2 "$said"
    [ "$passed" = 0 ] || tail -n 30 "$said.client"
    rm -f "$said" "$said.client"
    return "$passed"
}

# The host that the WeChat plugin names as its peer is large, and none of the modules used here needs it.
export npm_config_legacy_peer_deps=true
OPENCLAW_STATE_DIR=$(mktemp -d)
export OPENCLAW_STATE_DIR
trap 'rm -rf "$OPENCLAW_STATE_DIR"' EXIT
python_packages requirements.txt "$venv"
node_packages package.json "$node"
if [ "${1:-}" = install ]; then exit; fi
# With the features of the whole workspace, as the tests are built: else most of it would be compiled again.
cargo build --quiet --locked --workspace --bin simulate
failed=0
for client in ${*:-*.py *.mjs}; do
    try "$client" || failed=1
done
exit "$failed"
