#!/bin/sh
# Independent reference servers for the embedded engines: ministack for SQS, Amazon's DynamoDB Local for DynamoDB.
#
#   tests/oracles.sh install            once; into tests/.tools, needs python3, npm and java 17
#   eval "$(tests/oracles.sh start)"    starts both, waits until they answer, sets the variables that the tests read
#   tests/oracles.sh stop
#
# Nothing of either is part of this project. DynamoDB Local comes with a licence of Amazon's own, for development and tests.
set -eu

MINISTACK_VERSION=1.5.33
# Carries DynamoDB Local 1.25.1.
SIMULATOR_VERSION=2.9.30
# A minute is ten times as long as a slow machine needs.
READY_WITHIN_S=60

tools=$(cd "$(dirname "$0")" && pwd)/.tools
venv=$tools/ministack-$MINISTACK_VERSION
simulator=$tools/dynamodb-local-$SIMULATOR_VERSION

main() {
    case ${1:-} in
        install) install_ministack; install_dynamodb_local ;;
        start) start ;;
        stop) stop ministack; stop dynamodb-local ;;
        *) echo "usage: $0 install | start | stop" >&2; exit 2 ;;
    esac
}

install_ministack() {
    [ -x "$venv/bin/ministack" ] && return
    mkdir -p "$tools"
    rm -rf "$venv.new"
    python3 -m venv "$venv.new"
    "$venv.new/bin/python" -m pip install --quiet --disable-pip-version-check "ministack==$MINISTACK_VERSION" >&2
    # A virtual environment knows its own path, so its programs are called through its interpreter.
    mv "$venv.new" "$venv"
}

install_dynamodb_local() {
    [ -f "$simulator/DynamoDBLocal.jar" ] && return
    mkdir -p "$tools"
    rm -rf "$simulator.new"
    mkdir "$simulator.new"
    (
        cd "$simulator.new"
        npm pack --silent "amplify-dynamodb-simulator@$SIMULATOR_VERSION" >/dev/null
        tar -xzf ./*.tgz --strip-components=2 package/emulator
        rm ./*.tgz
    )
    mv "$simulator.new" "$simulator"
}

start() {
    [ -d "$venv" ] && [ -d "$simulator" ] || { echo "not installed: run $0 install" >&2; exit 1; }
    stop ministack
    stop dynamodb-local

    port=$(free_port)
    BIND_HOST=127.0.0.1 GATEWAY_PORT=$port SERVICES=sqs LOG_LEVEL=WARNING \
        spawn ministack "$venv/bin/python" -m ministack
    wait_until_ready ministack "http://127.0.0.1:$port/"
    echo "export TIELINE_TEST_SQS_ENDPOINT=http://127.0.0.1:$port"

    # It has no option for the address, and listens on all of them. Its tables are in memory and empty.
    port=$(free_port)
    spawn dynamodb-local java "-Djava.library.path=$simulator/DynamoDBLocal_lib" -jar "$simulator/DynamoDBLocal.jar" \
        -inMemory -disableTelemetry -port "$port"
    wait_until_ready dynamodb-local "http://127.0.0.1:$port/"
    echo "export TIELINE_TEST_DYNAMODB_ENDPOINT=http://127.0.0.1:$port"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts a program in the background: its process id is written to one file, its output to another.
spawn() {
    name=$1
    shift
    "$@" >"$tools/$name.log" 2>&1 </dev/null &
    echo $! >"$tools/$name.pid"
}

# Any HTTP response counts, also an error.
wait_until_ready() {
    waited=0
    until python3 - "$2" <<'PY'
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=1)
except urllib.error.HTTPError:
    pass
except OSError:
    sys.exit(1)
PY
    do
        if ! kill -0 "$(cat "$tools/$1.pid")" 2>/dev/null || [ "$waited" -ge "$((READY_WITHIN_S * 5))" ]; then
            echo "$1 did not start, see $tools/$1.log" >&2
            main stop
            exit 1
        fi
        waited=$((waited + 1))
        sleep 0.2
    done
}

stop() {
    file=$tools/$1.pid
    [ -f "$file" ] || return 0
    pid=$(cat "$file")
    # The number may belong to another process by now.
    case $(ps -o args= -p "$pid" 2>/dev/null) in
        *"$tools"*) ;;
        *) rm -f "$file"; return 0 ;;
    esac
    kill "$pid" 2>/dev/null || true
    waited=0
    while kill -0 "$pid" 2>/dev/null; do
        waited=$((waited + 1))
        [ "$waited" -lt 50 ] || { kill -9 "$pid" 2>/dev/null || true; break; }
        sleep 0.1
    done
    rm -f "$file"
}

main "$@"
