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
case ${1:-} in
    converge | destroy) exec molecule "$1" -s chaos ;;
esac
# A server that was kept is broken as it is.
[ "$(docker inspect --format '{{.State.Running}}' $server 2>/dev/null)" = true ] || molecule converge -s chaos
exec python -m chaos $server "$MOLECULE_EPHEMERAL_DIRECTORY/inventory" "$@"
