#!/bin/sh
# Breaks a server of its own at random, and keeps it for the next run.
# Usage: chaos.sh [options of tests/chaos/__main__.py]
#        chaos.sh converge     (makes the server, or brings it up to date)
#        chaos.sh destroy      (removes it)
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
MOLECULE_EPHEMERAL_DIRECTORY=$PWD/.cache/chaos/server
# What watches servers and runs playbooks for the tests does it here, too.
PYTHONPATH=tests
ANSIBLE_CONFIG=$PWD/ansible.cfg
# Its output is read while it runs.
PYTHONUNBUFFERED=1
export PATH MOLECULE_EPHEMERAL_DIRECTORY PYTHONPATH ANSIBLE_CONFIG PYTHONUNBUFFERED
server=chaos12
[ "${1:-}" != destroy ] || exec molecule destroy -s chaos
# A server that was kept is broken as it is.
if [ "$(docker inspect --format '{{.State.Running}}' $server 2>/dev/null)" != true ]; then
    # Molecule remembers a server that is gone, and would not prepare the next one.
    molecule destroy -s chaos
    rm -rf "$MOLECULE_EPHEMERAL_DIRECTORY"
    molecule converge -s chaos
elif [ "${1:-}" = converge ]; then
    molecule converge -s chaos
fi
[ "${1:-}" != converge ] || exit 0
exec python -m chaos $server "$MOLECULE_EPHEMERAL_DIRECTORY/inventory" "$@"
