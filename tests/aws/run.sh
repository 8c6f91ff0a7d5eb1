#!/usr/bin/env bash
# Tests the deployment on AWS, as far as that can be without an account: the templates are valid and safe, agree with the programs,
# build; packages and images are small; costs are what was written down. Further arguments go to pytest.
#
# Debug binaries are read for what they call; `TIELINE_DEBUG_DIR` says where they are, else they are built.
set -euo pipefail
cd "$(dirname "$0")/../.."

sh tests/aws/install.sh
if [ -z "${TIELINE_DEBUG_DIR:-}" ]; then
    cargo build --locked --bin webhook --bin dispatcher --bin runner --bin admin --bin relay --bin print_definitions
fi
# SAM and cargo-lambda are found by name. No telemetry is sent, and no AWS API is called.
export PATH="$PWD/tests/.tools/sam/bin:$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1
exec python -m pytest -p no:cacheprovider -q -rP tests/aws "$@"
