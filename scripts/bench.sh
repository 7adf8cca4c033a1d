#!/bin/sh
# Times deploys on a server of its own, and removes it. The results are in bench/results.
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
export PATH
MOLECULE_EPHEMERAL_DIRECTORY=$(mktemp -d)
export MOLECULE_EPHEMERAL_DIRECTORY
trap 'molecule destroy -s release >/dev/null 2>&1 || :; rm -rf "$MOLECULE_EPHEMERAL_DIRECTORY"' EXIT
trap 'exit 1' INT TERM
log=$MOLECULE_EPHEMERAL_DIRECTORY/bench.log
echo "bench: making the server (about three minutes)"
molecule converge -s release >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    exit 1
}
# What runs playbooks and watches generations for the tests does it here, too.
PYTHONPATH=tests python bench/deploys.py "$MOLECULE_EPHEMERAL_DIRECTORY/inventory" "$@"
