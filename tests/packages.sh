# shellcheck shell=bash
# Installs packages for the scripts that source this, once, and again when the requested packages change. A failing registry is retried
# twice.

# python_packages REQUIREMENTS VENV
python_packages() {
    if cmp -s "$1" "$2/requirements.txt"; then return; fi
    rm -rf "$2"
    python3 -m venv "$2"
    thrice "$2/bin/python" -m pip install --quiet --disable-pip-version-check -r "$1"
    cp "$1" "$2/requirements.txt"
}

# node_packages PACKAGE_JSON FOLDER
node_packages() {
    if cmp -s "$1" "$2/installed.json"; then return; fi
    rm -rf "$2"
    mkdir -p "$2"
    cp "$1" "$2/package.json"
    thrice npm install --prefix "$2" --silent --no-audit --no-fund
    cp "$1" "$2/installed.json"
}

thrice() {
    "$@" || { sleep 5 && "$@"; } || { sleep 20 && "$@"; }
}
