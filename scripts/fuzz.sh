#!/usr/bin/env bash
# Feeds every parser of foreign input with mutations of the inputs in fuzz/seeds.
#
#   scripts/fuzz.sh SECONDS [TARGET...]     each target, or those named, for that long
#   scripts/fuzz.sh keep [TARGET...]        of what was found worth trying, packs as little as reaches the same code
#                                           into fuzz/corpus/TARGET.tar.xz, where the next run begins
#
# Any toolchain does: no sanitizer is used, since no parser has unsafe code (what there is belongs to the plug-in
# boundary); what is looked for is panics, overflows, endless work and too much memory. `cargo fuzz run TARGET
# fuzz/seeds/TARGET` works as well.
# What is found is written into fuzz/artifacts; a file of it as the last argument of the program runs it again.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
if [ $# -lt 1 ] || ! [[ $1 =~ ^([0-9]+|keep)$ ]]; then
  echo "usage: $0 SECONDS|keep [TARGET...]" >&2
  exit 2
fi
seconds=$1
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# Counters at every edge, and the operands of comparisons, as cargo-fuzz asks for them.
coverage="-Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
host=$(rustc -vV | sed -n 's/^host: //p')
# A target of its own name keeps the flags from build scripts.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}/fuzz CARGO_INCREMENTAL=0
RUSTFLAGS=$coverage cargo build --release --target "$host" $(printf -- '--bin %s ' "${targets[@]}")

failed=()
for target in "${targets[@]}"; do
  corpus=$CARGO_TARGET_DIR/corpus/$target
  program=$CARGO_TARGET_DIR/$host/release/$target
  mkdir -p "$corpus" "artifacts/$target"
  printf '\n== %s\n' "$target"
  [ ! -f "corpus/$target.tar.xz" ] || tar -xf "corpus/$target.tar.xz" -C "$corpus"
  if [ "$seconds" = keep ]; then
    few=$CARGO_TARGET_DIR/few/$target
    rm -rf "$few" && mkdir -p "$few" corpus
    "$program" -merge=1 -max_len=16384 -verbosity=0 "$few" "seeds/$target" "$corpus"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$few" -cf - . | xz -9e >"corpus/$target.tar.xz"
    continue
  fi
  # A new input is at most 64 KiB, takes less than 10 s and 2 GB; all else is a finding.
  "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -max_len=65536 -print_final_stats=1 -verbosity=0 -artifact_prefix="artifacts/$target/" \
    "$corpus" "seeds/$target" || failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFAILED: %s\n' "${failed[@]}"
  exit 1
fi
[ "$seconds" = keep ] || printf '\nNothing was found.\n'
