#!/usr/bin/env bash
# Builds calbridge for Windows on Debian and tries it under Wine.
#
#   scripts/windows_build.sh          build, then try what the program does
#   scripts/windows_build.sh check    compile only, with warnings as errors
#   scripts/windows_build.sh test     build and run the tests of the parts that touch files
#
# Needs root for the packages that are missing. The toolchain is Debian's, since it comes with the sources of the
# standard library, which is compiled too. Where rustup can add the target x86_64-pc-windows-gnu, an ordinary
# `cargo build --target` with the mingw linker does as well.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-try}
host=x86_64-pc-windows-gnu
target=${CARGO_TARGET_DIR:-$PWD/target}/windows
mingw=x86_64-w64-mingw32

packages=(rustc-web cargo-web rust-web-src gcc-mingw-w64-x86-64)
[ "$mode" = check ] || packages+=(wine64)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
fi

export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$mingw-gcc CC_x86_64_pc_windows_gnu=$mingw-gcc
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine WINEPREFIX=$target/wine WINEDEBUG=-all
# Cargo's own switch: it concerns this workspace alone, not the standard library.
cargo=(/usr/bin/cargo --config 'build.warnings="deny"' -Zwarnings)
std=(-Zbuild-std=std,panic_unwind --target "$host")

# Beside each program that Wine runs; see the file.
shim() {
  local folder
  for folder in "$@"; do
    $mingw-gcc -shared -O2 -Wall -Wextra -Werror -o "$folder/bcryptprimitives.dll" scripts/wine/bcryptprimitives.c -ladvapi32
  done
}

case $mode in
check)
  "${cargo[@]}" check "${std[@]}"
  exit
  ;;
test)
  # The tests of the other crates need OpenSSL's headers for Windows, or hold programs of their own.
  mkdir -p "$target/$host/debug/deps"
  shim "$target/$host/debug/deps"
  "${cargo[@]}" test "${std[@]}" -p calbridge-core -p calbridge-ical-source -p calbridge-ical-sink --lib --tests \
    --features calbridge-core/engine,calbridge-core/sqlite,calbridge-core/http
  exit
  ;;
try) ;;
*)
  echo "usage: $0 [check|test]" >&2
  exit 2
  ;;
esac

"${cargo[@]}" build "${std[@]}"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
ln "$target/$host/debug/calbridge.exe" "$stage/" 2>/dev/null || cp "$target/$host/debug/calbridge.exe" "$stage/"
shim "$stage"
cd "$stage"
failures=0

# The exit code that is due, and the command.
due() {
  local expected=$1 code=0
  shift
  timeout 300 wine "$@" >output 2>&1 || code=$?
  if [ "$code" -eq "$expected" ]; then
    echo "good: $* (exit $code)"
  else
    failures=$((failures + 1))
    echo "FAILED: $* (exit $code, $expected is due)"
    cat output
  fi
}
# A text that must stand in the last output.
says() {
  grep -qF -- "$1" output && return
  failures=$((failures + 1))
  echo "FAILED: the output lacks: $1"
  cat output
}

due 0 calbridge.exe --version
due 0 calbridge.exe connectors list
says exchange-ews
due 2 calbridge.exe check
says 'ProgramData\calbridge\calbridge.toml'
due 0 calbridge.exe demo --once
due 1 calbridge.exe demo --once --break loss

# A folder to a folder, by paths of both forms, with an address that Windows takes for a device.
mkdir in out
today=$(date -d '+1 day' +%Y%m%d)
for address in anna@kommune.example con.smith@kommune.example; do
  # No file may have that name on Windows: it stands escaped there, as the connectors write it.
  name=${address/#con./%63on.}
  cat >"in/$name.ics" <<ICS
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//calbridge//trial//EN
BEGIN:VEVENT
UID:$address
DTSTAMP:20260101T000000Z
DTSTART;TZID=Europe/Copenhagen:${today}T090000
DURATION:PT1H
END:VEVENT
END:VCALENDAR
ICS
done
here=$(wine cmd /c cd 2>/dev/null | tr -d '\r')
cat >calbridge.toml <<TOML
[connections.in]
connector = "ical-source"
path = '$here\\in'

[connections.out]
connector = "ical-sink"
folder = "out"

[[sync]]
name = "trial"
source = "in"
sink = "out"

[state]
path = '$here\\state.db'
TOML
trial=(calbridge.exe --config calbridge.toml)
due 0 "${trial[@]}" check
due 0 "${trial[@]}" sync
says '2 created'
for name in anna@kommune.example %63on.smith@kommune.example; do
  [ -f "out/$name.ics" ] || { failures=$((failures + 1)); echo "FAILED: there is no out/$name.ics"; }
done
sed -i 's/T090000/T100000/' in/anna@kommune.example.ics
due 0 "${trial[@]}" sync
says '1 updated'
due 0 "${trial[@]}" sync
says '0 created, 0 updated, 0 deleted'
due 0 "${trial[@]}" status
due 0 "${trial[@]}" backup copy.db

# While one runs, no other may write; Wine makes Ctrl-C of SIGINT.
run() {
  wine "${trial[@]}" run >service 2>&1 &
  service=$!
  for _ in $(seq 50); do
    grep -q 'has started' service && return
    sleep 0.2
  done
}
run
due 3 "${trial[@]}" sync
says 'locked by another process'
code=0
kill -INT "$service"
wait "$service" || code=$?
cp service output
if [ "$code" -eq 0 ]; then says 'calbridge has stopped'; else failures=$((failures + 1)) && echo "FAILED: Ctrl-C (exit $code)"; fi
# A service that was killed leaves a state that the next one takes up.
run
kill -KILL "$service"
wait "$service" || true
due 0 "${trial[@]}" sync
sed -i 's/ical-source/ical-sauce/' calbridge.toml
due 2 "${trial[@]}" check
says 'calbridge.toml:2:1'

if [ "$failures" -gt 0 ]; then
  echo "$failures failed"
  exit 1
fi
echo "calbridge works under Wine"
