#!/bin/sh
# Builds the release archive: the program, its licence, documents, completions, the unit file and the compose file, with a checksum beside it.
#
#   infra/release/archive.sh [OUT_DIR] [BINARY]
#
# OUT_DIR is `dist` if absent. BINARY is built (`cargo build --release --locked`) if absent. Prints the archive's path.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-dist}
binary=${2:-}

if [ -z "$binary" ]; then
    # As fast and small as possible: it is built once for many users.
    CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 cargo build --release --locked --bin tieline >&2
    binary=${CARGO_TARGET_DIR:-target}/release/tieline
fi
version=$("$binary" --version | cut -d ' ' -f 2)
system=$(uname -s | tr '[:upper:]' '[:lower:]')
name=tieline-$version-$system-$(uname -m)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name/completions" "$work/$name/docs/platforms" "$work/$name/docs/pictures/answers" "$out"
install -m 755 "$binary" "$work/$name/tieline"
install -m 644 LICENSE README.md README.zh-CN.md infra/release/tieline.service infra/release/compose.yaml "$work/$name/"
install -m 644 docs/*.md "$work/$name/docs/"
install -m 644 docs/pictures/*.png "$work/$name/docs/pictures/"
install -m 644 docs/pictures/answers/* "$work/$name/docs/pictures/answers/"
install -m 644 docs/platforms/*.md docs/platforms/*.py "$work/$name/docs/platforms/"
for shell in bash zsh fish; do
    "$binary" completion "$shell" >"$work/$name/completions/tieline.$shell"
done
# Reproducible: the same files make the same archive, without owner and time, sorted by name.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -C "$work" -cf "$work/archive.tar" "$name"
gzip -9n "$work/archive.tar"
mv "$work/archive.tar.gz" "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz"
