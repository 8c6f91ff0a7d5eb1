#!/usr/bin/env bash
# Tests the API's description: two validators accept it, clients generated from it (Python, TypeScript) run
# the whole flow, and requests generated from it find no 5xx and no undocumented response.
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
if [ "${1:-}" = install ]; then exit; fi

work=$(mktemp -d)
trap 'kill "$bridge" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
export TIELINE_TOKEN=root-token-of-the-generated-clients-9f86d081884c7d65
"$binary" serve --listen 127.0.0.1:0 --data-dir "$work/data" --admin-token "$TIELINE_TOKEN" >"$work/log" 2>&1 &
bridge=$!
# The port is in the log.
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
create() { # create KIND BODY FIELD: that field of what was created
    curl -fsS "$TIELINE_URL/api/v1/orgs/default/$1" -H "Authorization: Bearer $TIELINE_TOKEN" -H "Content-Type: application/json" -d "$2" |
        python3 -c "import json, sys; print(json.load(sys.stdin)['$3'])"
}
agent=$(create agents '{"name": "Made up", "protocol": "echo"}' id)
bot=$(create integrations '{"name": "Made up", "platform": "web"}' id)
trigger=$(create triggers "{\"integrationId\": \"$bot\", \"agentId\": \"$agent\"}" id)
# Generated ids are nearly always unknown. Only generated ids are deleted, so that resources remain for the other requests.
cat >schemathesis.toml <<EOF
[parameters]
"path.org" = "default"
EOF
for kind_and_id in "agents $agent" "integrations $bot" "triggers $trigger"; do
    read -r kind id <<<"$kind_and_id"
    cat >>schemathesis.toml <<EOF
[[operations]]
include-path-regex = "/$kind/\\\\{id\\\\}"
exclude-method = "DELETE"
parameters = { "path.id" = "$id" }
EOF
done
# Excludes requests that wait by design (long polls, streams) or end the caller's session.
for role in root admin viewer; do
    token=$TIELINE_TOKEN
    [ "$role" = root ] || token=$(create tokens "{\"name\": \"Made up $role\", \"role\": \"$role\"}" token)
    "$venv/bin/schemathesis" --config-file schemathesis.toml run openapi.json --url "$TIELINE_URL" -H "Authorization: Bearer $token" \
        --phases fuzzing --max-examples 6 --seed 1 --generation-database none \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
        --exclude-path-regex '/events$|/session$|/web/replies/' >"requests-$role" 2>&1 || { cat "requests-$role"; exit 1; }
    printf '%s: ' "$role"
    tail -n 6 "requests-$role" | sed -n '/generated/p'
done
