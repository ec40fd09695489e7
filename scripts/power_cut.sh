#!/usr/bin/env bash
# Cuts the power at every write of seeded histories of the store, and looks at what the disk may hold then.
# Needs strace, and the right to trace a child process; skips, saying so, where it cannot be had, and fails there if
# CALBRIDGE_POWER_CUT_REQUIRED is set.
#
#   power_cut.sh [HISTORIES]
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v strace >/dev/null; then
  { apt-get update -qq && apt-get install -y -qq strace >/dev/null; } 2>/dev/null || true
fi
if ! strace -o /dev/null true 2>/dev/null; then
  if [ -n "${CALBRIDGE_POWER_CUT_REQUIRED:-}" ]; then
    echo "strace is not here, or may not trace; nothing was shown" >&2
    exit 1
  fi
  echo "skipped: strace is not here, or may not trace"
  exit 0
fi
CALBRIDGE_POWER_CUT_REQUIRED=1 CALBRIDGE_POWER_CUT_SEEDS=${1:-3} RUST_BACKTRACE=0 \
  cargo test --quiet -p calbridge-core --features sqlite --test power_cut -- --nocapture
