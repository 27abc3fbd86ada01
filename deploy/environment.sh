# Makes the project's own Python environment; read by demo.sh and test.sh, not run by itself.
#
#   prepare_environment EXTRAS     e.g. prepare_environment encoder,test
#
# Sets $root (the project), $venv and $python (of the environment). Work is done only when pyproject.toml has
# changed since the last time. DOPPEL_VENV: where the environment lives; DOPPEL_PYTHON: which Python makes it.

say() { printf '%s\n' "doppel: $*" >&2; }
fail() { say "$*"; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
venv=${DOPPEL_VENV:-$root/.venv}
python=$venv/bin/python
needed_mb=4000  # the environment with a CPU torch takes 2 GB; pip unpacks beside it

find_python() {
    for candidate in ${DOPPEL_PYTHON:+"$DOPPEL_PYTHON"} python3 python3.13 python3.12 python3.11 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

free_mb() { df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }'; }

require_space() {
    free=$(free_mb "$(dirname "$venv")")
    [ "${free:-0}" -ge "$1" ] ||
        fail "the disk is too full: $free MB are free at $(dirname "$venv"), the environment needs $1 MB (DOPPEL_VENV puts it elsewhere)"
}

make_venv() {
    base=$(find_python) || fail "Python 3.11 or newer is needed and none was found (DOPPEL_PYTHON names one that is not on the PATH)"
    "$base" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$base lacks its venv module: install it first (Debian, Ubuntu: apt install python3-venv)"
    mkdir -p "$(dirname "$venv")" || exit 1
    require_space "$needed_mb"
    say "making the environment $venv with $("$base" --version 2>&1)"
    "$base" -m venv "$venv" || fail "the environment $venv could not be made"
}

explain_pip_failure() {
    [ "$(free_mb "$venv")" -ge 200 ] || fail "the disk became full while packages were installed into $venv"
    fail "the packages could not be installed: the reason stands above (is the network there? deploy/README.md tells of proxies and mirrors)"
}

# torch first and alone: pip then takes the build that fits the machine and settings of the operator.
install_packages() {
    say "installing packages (once; a few minutes)"
    torch=$(sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' "$root/pyproject.toml")
    set -- "$1" "$2" "$python" -m pip install --prefer-binary --disable-pip-version-check
    extras=$1 stamp=$2
    shift 2
    [ -t 2 ] || set -- "$@" --quiet  # a terminal sees pip's progress, a log file does not
    "$@" ${torch:+"$torch"} && "$@" -e "$root[$extras]" || explain_pip_failure
    fingerprint >"$stamp"
}

fingerprint() { printf '%s\n' "$root"; cksum <"$root/pyproject.toml"; }

prepare_environment() {
    [ -x "$python" ] && "$python" -m pip --version >/dev/null 2>&1 || make_venv
    stamp=$venv/doppel-$1.stamp
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] || install_packages "$1" "$stamp"
}
