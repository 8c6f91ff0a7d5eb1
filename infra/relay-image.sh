#!/bin/sh
# Builds the image of the relay, pushes it to the stack's repository, and prints it. Write it into parameter_overrides of samconfig.toml, as
# RelayImage.
#
#   infra/relay-image.sh STACK [arm64|x86_64]
#
# The region is that of the AWS command line: AWS_REGION, or its own settings. Only SAM reads the one in samconfig.toml.
set -eu
stack=${1:?name of the stack}
case ${2:-arm64} in
    arm64) platform=linux/arm64 ;;
    x86_64) platform=linux/amd64 ;;
    *) echo "arm64 or x86_64" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."

fail() {
    echo "$0: $*" >&2
    exit 1
}

if [ -z "${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}" ]; then
    fail "no region: set AWS_REGION to the one that the stack is in"
fi
repository=$(aws cloudformation describe-stacks --stack-name "$stack" \
    --query "Stacks[0].Outputs[?OutputKey=='ImageRepository'].OutputValue" --output text) \
    || fail "stack $stack is not there: is AWS_REGION the one that it is in?"
case $repository in
    *.amazonaws.com*/*) ;;
    *) fail "stack $stack has no repository of images (yet)" ;;
esac
# Programs of another architecture run only if the kernel is configured for them.
docker buildx inspect --bootstrap | grep -q "Platforms:.*$platform" \
    || fail "this machine can't build for $platform: docker run --privileged --rm tonistiigi/binfmt --install ${platform#linux/}"
# Tags are immutable, so each build has its own.
tag=relay-$(git rev-parse --short=12 HEAD)-$(date -u +%Y%m%d%H%M%S)
aws ecr get-login-password | docker login --username AWS --password-stdin "${repository%%/*}" >&2
docker buildx build --platform "$platform" --file infra/relay.Dockerfile --provenance=false \
    --tag "$repository:$tag" --push . >&2
digest=$(aws ecr describe-images --repository-name "${repository#*/}" --image-ids "imageTag=$tag" \
    --query 'imageDetails[0].imageDigest' --output text)
echo "$repository@$digest"
