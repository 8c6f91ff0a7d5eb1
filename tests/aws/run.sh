#!/usr/bin/env bash
# Tests the deployment on AWS, as far as possible without an account: the templates are valid and safe, match the programs,
# and build; packages and images are small; costs match the documented ones. Further arguments go to pytest.
#
# Debug binaries are scanned for the AWS calls they make; `TIELINE_DEBUG_DIR` is their folder, else they are built.
set -euo pipefail
cd "$(dirname "$0")/../.."

sh tests/aws/install.sh
if [ -z "${TIELINE_DEBUG_DIR:-}" ]; then
    cargo build --locked --bin webhook --bin dispatcher --bin runner --bin admin --bin relay --bin print_definitions
fi
# SAM and cargo-lambda are found by name. No telemetry is sent, and no AWS API is called.
export PATH="$PWD/tests/.tools/sam/bin:$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1
exec python -m pytest -p no:cacheprovider -q -rP tests/aws "$@"
