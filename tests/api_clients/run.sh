#!/usr/bin/env bash
# Shows that the API's description is what programs need: two validators accept it, clients generated from it (Python, TypeScript) run
# the whole flow, and requests made up from it find no 5xx and no answer that it doesn't describe.
#
# Needs the release binary (`TIELINE_BIN_DIR`), python3, node and npm; the rest is installed into tests/.tools.
set -euo pipefail
cd "$(dirname "$0")"
source ../packages.sh

tools=$PWD/../.tools
venv=$tools/api-python
node=$tools/api-node
binary=${TIELINE_BIN_DIR:-../../target/release}/tieline

python_packages requirements.txt "$venv"
node_packages package.json "$node"

work=$(mktemp -d)
trap 'kill "$bridge" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
export TIELINE_TOKEN=root-token-of-the-generated-clients-9f86d081884c7d65
"$binary" serve --listen 127.0.0.1:0 --data-dir "$work/data" --admin-token "$TIELINE_TOKEN" >"$work/log" 2>&1 &
bridge=$!
# The log says which port it is.
for _ in $(seq 600); do
    port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/log" | head -n 1)
    [ -z "$port" ] || break
    kill -0 "$bridge" || { cat "$work/log"; exit 1; }
    sleep 0.05
done
export TIELINE_URL=http://127.0.0.1:$port
curl -fsS "$TIELINE_URL/api/openapi.json" -o "$work/openapi.json"

echo "== validators"
"$venv/bin/openapi-spec-validator" "$work/openapi.json"
cp validate.mjs flow.ts "$node/"
node "$node/validate.mjs" "$work/openapi.json"

echo "== Python"
"$venv/bin/openapi-python-client" generate --path "$work/openapi.json" --output-path "$work/python" >"$work/generated" 2>&1 || { cat "$work/generated"; exit 1; }
PYTHONPATH=$work/python "$venv/bin/python" flow.py

echo "== TypeScript"
(
    cd "$node"
    npx --no-install openapi-typescript "$work/openapi.json" -o api.ts >/dev/null
    npx --no-install tsc --strict --skipLibCheck --target es2022 --module nodenext --moduleResolution nodenext --lib es2022,dom --outDir built flow.ts
    node built/flow.js
)

echo "== requests made up from the description"
cd "$work" # where it leaves files of its own
# What waits by design (long polls, streams) and what ends the session of the caller is left out.
"$venv/bin/schemathesis" run "$work/openapi.json" --url "$TIELINE_URL" -H "Authorization: Bearer $TIELINE_TOKEN" \
    --phases fuzzing --max-examples 20 --seed 1 --generation-database none \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --exclude-path-regex '/events$|/session$|/web/replies/' >"$work/requests" 2>&1 || { cat "$work/requests"; exit 1; }
tail -n 4 "$work/requests"
