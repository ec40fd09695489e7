#!/usr/bin/env bash
# A vendor's connector, built by another compiler and optimised in another way than the host, passes the conformance kit
# as a library and in a process of its own.
#
#   scripts/kit_other_toolchain.sh CALBRIDGE                  Debian's rustc-web (/usr/bin/rustc)
#   scripts/kit_other_toolchain.sh CALBRIDGE RUSTC CARGO      another one
#
# Without a second toolchain it does nothing, and says so.
set -euo pipefail
program=$(realpath "${1:?the calbridge program}")
cd "$(dirname "$0")/.."
rustc=${2:-/usr/bin/rustc}
cargo=${3:-/usr/bin/cargo}
target=${CARGO_TARGET_DIR:-$PWD/target}
if ! [ -x "$rustc" ] || ! [ -x "$cargo" ]; then
  echo "skipped: there is no second toolchain at $rustc"
  exit
fi
echo "host: $(rustc --version)"
echo "library: $("$rustc" --version), release, opt-level s, thin LTO"
CARGO_INCREMENTAL=0 RUSTC=$rustc "$cargo" build --quiet --release --locked --manifest-path examples/rota/Cargo.toml \
  --target-dir "$target/toolchains/rota" --config 'profile.release.opt-level="s"' --config 'profile.release.lto="thin"'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
install -m 644 "$target/toolchains/rota/release/librota.so" "$folder/"
mkdir "$folder/shifts"
for person in anna bo; do
  echo '{"shifts": []}' >"$folder/shifts/$person@firm.example.json"
done
# Without commands the connector makes its own appointments, and is read back.
cat >"$folder/world.toml" <<END
settings = { folder = "$folder/shifts" }
calendars = ["anna@firm.example", "bo@firm.example"]
missing = "nobody@firm.example"
out_of_reach = { folder = "$folder/nowhere" }
zone = "Europe/Copenhagen"
END
for isolation in in-process process; do
  echo "isolation = \"$isolation\""
  cat >"$folder/calbridge.toml" <<END
[plugins.rota]
path = "$folder/librota.so"
isolation = "$isolation"
END
  "$program" --config "$folder/calbridge.toml" connectors test rota --world "$folder/world.toml" 2>/dev/null | tee "$folder/report"
  # Something must have been tested.
  grep -Eq '[4-9][0-9] passed, 0 failed' "$folder/report"
done
