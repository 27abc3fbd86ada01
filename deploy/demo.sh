#!/bin/sh
# Everything on a fresh machine: environment, archive, training, release, service on http://127.0.0.1:8080.
#
#   sh deploy/demo.sh [--data DIR] [--port N]     (and what else `doppel demo --help` lists)
#
# --data DIR or DOPPEL_DATA: a directory of spectra collections; without it stars are simulated.
# A second start reuses what is there. Ctrl-C ends the service.
set -u
. "$(dirname "$0")/environment.sh"

[ -z "${DOPPEL_DATA:-}" ] || [ -d "$DOPPEL_DATA" ] || fail "DOPPEL_DATA is not a directory: $DOPPEL_DATA"
prepare_environment encoder
exec "$venv/bin/doppel" demo "$@"
