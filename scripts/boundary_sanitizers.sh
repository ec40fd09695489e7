#!/usr/bin/env bash
# Runs the tests of the plug-in boundary, where all unsafe code is, under what finds wrong use of memory.
#
#   scripts/boundary_sanitizers.sh             all that are there
#   scripts/boundary_sanitizers.sh address     AddressSanitizer: program, library and child built with it
#   scripts/boundary_sanitizers.sh memcheck    valgrind over the ordinary build
#
# What lacks its tool is skipped, and that is said. Miri cannot run it: it knows no dlopen and no processes. ThreadSanitizer
# needs a standard library that was built with it, and reports races that are none without.
set -euo pipefail
cd "$(dirname "$0")/.."
what=("$@")
if [ ${#what[@]} -eq 0 ]; then what=(address memcheck); fi
target=${CARGO_TARGET_DIR:-$PWD/target}
features=(-p calbridge-core --features plugin,plugin-host)
export CARGO_INCREMENTAL=0 RUST_BACKTRACE=0

# The test program of this name, built with the flags that follow.
program() {
  local name=$1
  shift
  cargo test "${features[@]}" --test "$name" --no-run --message-format=json "$@" |
    sed -n "s/.*\"name\":\"$name\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -1
}

address() {
  local host runtime
  host=$(rustc -vV | sed -n 's/^host: //p')
  runtime=$(find "$(rustc --print sysroot)/lib/rustlib/$host/lib" -name 'librustc*asan*' 2>/dev/null | head -1)
  if [ -z "$runtime" ]; then
    echo "skipped: this toolchain has no runtime of AddressSanitizer"
    return
  fi
  (
    # The option is not stable yet; what it finds is true all the same.
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Clink-arg=-rdynamic" CARGO_TARGET_DIR=$target/asan
    # The library answers some calls never, as the tests ask for: what belongs to them is left behind. A write to
    # nowhere is to end the child, not to be reported.
    export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:detect_stack_use_after_return=1
    cargo build "${features[@]}" --examples --target "$host"
    # The one that compiles something does so without the sanitizer.
    cargo test "${features[@]}" --test plugin --target "$host" -- --skip aborts_on_panic
    # This one looks at its memory: what is freed is kept back for a shorter time.
    ASAN_OPTIONS=$ASAN_OPTIONS:detect_stack_use_after_return=0:quarantine_size_mb=16:thread_local_quarantine_size_kb=64 \
      cargo test "${features[@]}" --test plugin_calls --target "$host"
  )
}

valgrind_is_there() {
  command -v valgrind >/dev/null || {
    echo "skipped: there is no valgrind"
    return 1
  }
}

memcheck() {
  valgrind_is_there || return 0
  cargo build "${features[@]}" --examples
  # Each of them in this process: a library beside the host, panics, answers that are none, an older library.
  valgrind --quiet --error-exitcode=9 --leak-check=no --trace-children=no \
    "$(program plugin)" --test-threads=1 \
    same:: hostile::an_answer hostile::what_is_newer recorded:: behave::a_panic behave::a_call_that_is_given_up \
    behave::a_feed behave::records
}

for one in "${what[@]}"; do
  case $one in
  address | memcheck)
    printf '\n== %s\n' "$one"
    "$one"
    ;;
  *)
    echo "usage: $0 [address|memcheck]..." >&2
    exit 2
    ;;
  esac
done
