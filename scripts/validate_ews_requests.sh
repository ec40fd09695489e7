#!/bin/sh
# Validates every kind of EWS request that the connector makes against Microsoft's schemas, with xmllint
# (package libxml2-utils).
#
#   scripts/validate_ews_requests.sh XSD
#
# XSD is a schema of the SOAP envelope that imports messages.xsd and types.xsd of Exchange 2013 SP1.
set -eu

if [ $# -ne 1 ] || [ ! -f "$1" ]; then
    echo "usage: $0 XSD   (a schema of the SOAP envelope that imports messages.xsd and types.xsd)" >&2
    exit 2
fi
if ! command -v xmllint >/dev/null; then
    echo "xmllint is not installed (Debian: libxml2-utils)" >&2
    exit 2
fi

schema=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cd "$(dirname "$0")/.."
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

CALBRIDGE_EWS_REQUESTS_DIR=$directory cargo test --quiet -p calbridge-exchange-ews --lib \
    every_kind_of_request_is_written_for_validation >&2

count=$(find "$directory" -name '*.xml' | wc -l)
if [ "$count" -eq 0 ]; then
    echo "the test wrote no requests" >&2
    exit 1
fi
find "$directory" -name '*.xml' -print0 | sort -z \
    | xargs -0 xmllint --noout --nonet --schema "$schema"
echo "$count requests are valid."
