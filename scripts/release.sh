#!/usr/bin/env bash
# Packs a release: the program, every connector of the tree as a loadable library, the header and the schemas for
# vendors, licences, documents, checksums. Then tries what it packed: the program must load each library by its checksum.
#
#   scripts/release.sh [FOLDER]          into FOLDER (default: dist)
#   PROFILE=dev scripts/release.sh ...   a debug build, for a trial
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-dist}
profile=${PROFILE:-release}
target=${CARGO_TARGET_DIR:-$PWD/target}
built=$target/$([ "$profile" = dev ] && echo debug || echo "$profile")
version=$(cargo metadata --format-version 1 --no-deps | python3 -c '
import json, sys
print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "calbridge"))')
name=calbridge-$version-$(rustc -vV | sed -n 's/^host: //p')
mkdir -p "$out"
out=$(realpath "$out")
folder=$out/$name
rm -rf "$folder"
mkdir -p "$folder/connectors" "$folder/include"

# Each by a call of its own: together they would be given each other's features.
plugins=()
for manifest in plugins/*/Cargo.toml; do
  plugins+=("$(basename "$(dirname "$manifest")")")
done
cargo build --quiet --locked --profile "$profile" -p calbridge --bin calbridge
cargo build --quiet --locked --profile "$profile" "${plugins[@]/#/-pcalbridge-plugin-}"
install -m 755 "$built/calbridge" "$folder/"
for plugin in "${plugins[@]}"; do
  install -m 644 "$built/libcalbridge_plugin_${plugin//-/_}.so" "$folder/connectors/$plugin.so"
done
install -m 644 core/include/calbridge.h "$folder/include/"
cp -r core/schemas "$folder/"
install -m 644 README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$folder/"
cp -r docs "$folder/"
(cd "$folder" && find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner -czf "$out/$name.tar.gz" "$name"

# What was packed is what is tried: unpacked elsewhere, loaded by its checksum.
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
chmod 755 "$trial"
tar -C "$trial" --no-same-owner -xzf "$out/$name.tar.gz"
cd "$trial/$name"
sha256sum --quiet -c SHA256SUMS
for published in include/calbridge.h schemas/v1/frame.json docs/vendors/contract.md; do
  [ -s "$published" ] || { echo "$published is missing"; exit 1; }
done
for plugin in "${plugins[@]}"; do
  sum=$(sed -n "s|  connectors/$plugin.so$||p" SHA256SUMS)
  printf '[plugins.%s]\npath = "%s"\nsha256 = "%s"\nreplaces = ["%s"]\n' \
    "$plugin" "$PWD/connectors/$plugin.so" "$sum" "$plugin"
done >calbridge.toml
./calbridge --config calbridge.toml connectors list
sed 's/sha256 = "./sha256 = "x/' calbridge.toml >broken.toml
if ./calbridge --config broken.toml connectors list >/dev/null 2>&1; then
  echo "a wrong checksum was not noticed"
  exit 1
fi
echo "$out/$name.tar.gz: the program and ${#plugins[@]} connectors, each loaded by its checksum"
