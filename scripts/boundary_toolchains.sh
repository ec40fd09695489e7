#!/usr/bin/env bash
# The tests of the plug-in boundary with a library that another compiler built, optimised in other ways than the host.
#
#   scripts/boundary_toolchains.sh                    Debian's rustc-web (/usr/bin/rustc)
#   scripts/boundary_toolchains.sh RUSTC CARGO        another one
#
# Without a second toolchain it does nothing, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."
rustc=${1:-/usr/bin/rustc}
cargo=${2:-/usr/bin/cargo}
target=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_INCREMENTAL=0 RUST_BACKTRACE=0
if ! [ -x "$rustc" ] || ! [ -x "$cargo" ]; then
  echo "skipped: there is no second toolchain at $rustc"
  exit
fi
echo "host: $(rustc --version)"
for level in 0 '"s"'; do
  echo "library: $("$rustc" --version), opt-level $level"
  # In a folder of its own: other compilers do not read each other's results.
  RUSTC=$rustc CARGO_TARGET_DIR=$target/toolchains CARGO_PROFILE_DEV_DEBUG=0 \
    "$cargo" build -p calbridge-core --features plugin --example boundary_guest \
    --config "profile.dev.opt-level=$level" --config "profile.dev.package.calbridge-core.opt-level=$level"
  library=$(ls "$target"/toolchains/debug/examples/libboundary_guest.so)
  CALBRIDGE_GUEST=$library cargo test -p calbridge-core --features plugin,plugin-host --test plugin --test plugin_calls
done
