#!/usr/bin/env bash
# Calls agents behind the vendors' own servers through our adapters: LangGraph's in-memory Agent Server, and the official A2A SDK in
# both versions, streaming and polled.
#
#   tests/sdks/agents.sh
#   tests/sdks/agents.sh install   only installs the servers
#
# Needs python3; the servers are installed into tests/.tools and listen on the loopback address.
set -euo pipefail
cd "$(dirname "$0")/agents"
source ../../packages.sh

venv=$PWD/../../.tools/sdks-agents
target=${CARGO_TARGET_DIR:-../../../target}

python_packages requirements.txt "$venv"
if [ "${1:-}" = install ]; then exit; fi
# With the features of the whole workspace, as the tests are built: else most of it would be compiled again.
cargo build --quiet --locked --workspace --bin ask_agent

work=$(mktemp -d)
servers=()
stop() {
    for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
    rm -rf "$work"
}
trap stop EXIT

# Waits until a server answers.
ready() {
    for _ in $(seq 150); do
        if curl --silent --fail --output /dev/null "$1"; then return; fi
        sleep 0.2
    done
    echo "no answer from $1" >&2
    return 1
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# The server keeps its state beside its configuration.
cp langgraph_agent.py langgraph.json "$work/"
langgraph=$(free_port)
(cd "$work" && LANGSMITH_TRACING=false LANGGRAPH_CLI_NO_ANALYTICS=1 exec "$venv/bin/langgraph" dev \
    --host 127.0.0.1 --port "$langgraph" --no-browser --no-reload --n-jobs-per-worker 4 >"$work/langgraph.log" 2>&1) &
servers+=($!)
stream=$(free_port)
"$venv/bin/python" a2a_server.py "$stream" stream >"$work/stream.log" 2>&1 &
servers+=($!)
poll=$(free_port)
"$venv/bin/python" a2a_server.py "$poll" poll >"$work/poll.log" 2>&1 &
servers+=($!)
ready "http://127.0.0.1:$langgraph/ok"
ready "http://127.0.0.1:$stream/.well-known/agent-card.json"
ready "http://127.0.0.1:$poll/.well-known/agent-card.json"

asking=()
ask() {
    "$target/debug/ask_agent" "$1" "$2" &
    asking+=($!)
}
ask langgraph "{\"baseUrl\":\"http://127.0.0.1:$langgraph\",\"assistantId\":\"agent\"}"
for port in "$stream" "$poll"; do
    for version in 1.0 0.3; do
        ask a2a "{\"baseUrl\":\"http://127.0.0.1:$port\",\"protocolVersion\":\"$version\"}"
    done
done
failed=0
for asked in "${asking[@]}"; do wait "$asked" || failed=1; done
exit "$failed"
