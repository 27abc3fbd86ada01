#!/bin/sh
# The environment and the whole test suite: ruff, mypy, pytest.
#
#   sh deploy/test.sh [arguments of pytest]       e.g. sh deploy/test.sh -k imports
#
# DOPPEL_DATA: real spectra for the tests that need them; DOPPEL_REQUIRE_CLIENTS=1: a missing client fails its tests.
set -u
. "$(dirname "$0")/environment.sh"

prepare_environment encoder,test
cd "$root" || exit 1
PATH=$venv/bin:$PATH
export PATH

failed=
for check in "ruff check ." "ruff format --check ." mypy; do
    say "$check"
    # shellcheck disable=SC2086  # a check is a command and its words
    $check || failed="$failed [$check]"
done
say "pytest $*"
"$python" -m pytest "$@"
status=$?
[ -z "$failed" ] || fail "these checks failed:$failed (their findings stand above)"
exit "$status"
