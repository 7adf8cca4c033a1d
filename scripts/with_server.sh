#!/bin/sh
# Runs a program on the servers of a Molecule scenario that are made for it, and removes them.
# Usage: with_server.sh SCENARIO PROGRAM [ARGUMENT...]     (PROGRAM is Python, and gets the inventory before its arguments)
set -eu
cd "$(dirname "$0")/.."
scenario=$1 program=$2
shift 2
PATH=$PWD/.venv/bin:$PATH
export PATH
MOLECULE_EPHEMERAL_DIRECTORY=$(mktemp -d)
export MOLECULE_EPHEMERAL_DIRECTORY
trap 'molecule destroy -s "$scenario" >/dev/null 2>&1 || :; rm -rf "$MOLECULE_EPHEMERAL_DIRECTORY"' EXIT
trap 'exit 1' INT TERM
log=$MOLECULE_EPHEMERAL_DIRECTORY/converge.log
echo "$scenario: making the server (about four minutes)"
molecule converge -s "$scenario" >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    exit 1
}
# What runs playbooks and watches servers for the tests does it here, too.
PYTHONPATH=tests python "$program" "$MOLECULE_EPHEMERAL_DIRECTORY/inventory" "$@"
