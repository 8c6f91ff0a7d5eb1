#!/bin/sh
# Installs the tools for the tests of the deployment: SAM, cargo-lambda, and a policy checker, each with its own dependencies.
set -eu
tools=$(cd "$(dirname "$0")/.." && pwd)/.tools
SAM="aws-sam-cli==1.170.0 cargo-lambda==1.9.2 pytest==9.2.0"
CHECKOV="checkov==3.3.30"

install() {
    name=$1
    shift
    done_mark=$tools/$name/.installed
    [ "$(cat "$done_mark" 2>/dev/null)" = "$*" ] && return
    rm -rf "${tools:?}/$name"
    mkdir -p "$tools"
    python3 -m venv "$tools/$name"
    "$tools/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2
    echo "$*" >"$done_mark"
}

# Each version list is one word on purpose: the marker file records what is installed.
# shellcheck disable=SC2086
install sam $SAM
install checkov "$CHECKOV"
