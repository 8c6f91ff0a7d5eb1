#!/usr/bin/env bash
# Tests the deployment on AWS as far as possible without an account: the templates are valid and safe, agree with the programs, and
# build; packages and images are small; costs are within the recorded limits. Further arguments go to pytest.
#
# The debug binaries are analyzed for the AWS calls in them; `TIELINE_DEBUG_DIR` names their folder, else they are built.
set -euo pipefail
cd "$(dirname "$0")/../.."

sh tests/aws/install.sh
if [ -z "${TIELINE_DEBUG_DIR:-}" ]; then
    cargo build --locked --bin webhook --bin dispatcher --bin runner --bin admin --bin relay --bin print_definitions
fi
# SAM finds cargo-lambda on the PATH. No telemetry is sent, and no AWS API is called.
export PATH="$PWD/tests/.tools/sam/bin:$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1
exec python -m pytest -p no:cacheprovider -q -rP tests/aws "$@"
