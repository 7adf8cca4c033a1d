#!/bin/sh
# Makes the control environment: .venv with the locked requirements, and the vault
# password file of this clone. Does nothing when both are up to date.
set -eu
cd "$(dirname "$0")/.."

locks="roles/django_app/files/uv.txt requirements/control.txt"
python=${PYTHON:-python3}

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

if [ ! -e .vault-password ]; then
    (umask 077 && head -c 32 /dev/urandom | base64 >.vault-password)
fi

# shellcheck disable=SC2086 # a list of file names without spaces
wanted=$(cat $locks | sha256sum | cut -c1-64)
if [ "$(cat .venv/.lock 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

command -v "$python" >/dev/null 2>&1 || fail "'$python' is not there. Install Python 3.11, 3.12 or 3.13, or name one: PYTHON=/path/to/python3.12 make setup"
# The range that ansible-core 2.19 supports on the controller.
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
    3.11 | 3.12 | 3.13) ;;
    *) fail "Python is $version, but ansible-core 2.19 needs 3.11, 3.12 or 3.13. Name one: PYTHON=/path/to/python3.12 make setup" ;;
esac

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" -eq 0 ]; then as_root=; else as_root='sudo -n'; fi
    command -v apt-get >/dev/null 2>&1 || fail "Python's venv module is missing; install it (on Debian: python3-venv)."
    echo "setup: installing python3-venv"
    # shellcheck disable=SC2086 # empty or two words
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends python3-venv; } >/dev/null 2>&1 ||
        fail "Python's venv module is missing and could not be installed. As root: apt-get install python3-venv"
fi

echo "setup: making .venv with Python $version (70 locked packages, about half a minute)"
# A half-made environment would look like a whole one: remove it unless the end is reached.
trap 'rm -rf .venv' EXIT
trap 'exit 130' INT TERM
rm -rf .venv
"$python" -m venv .venv || fail "'$python -m venv .venv' failed (see above)."
log=$(mktemp)
if ! { .venv/bin/python -m pip install --quiet --retries 1 --require-hashes -r roles/django_app/files/uv.txt &&
    .venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements/control.txt; } >"$log" 2>&1; then
    tail -n 4 "$log" >&2
    rm -f "$log"
    fail "the locked packages could not be installed: is PyPI reachable (proxy, PIP_INDEX_URL)? No .venv was left behind."
fi
rm -f "$log"
printf '%s\n' "$wanted" >.venv/.lock
trap - EXIT INT TERM
