#!/bin/sh
# Runs the fault tests: all on a server of their own, or some rows on one that is kept.
# Usage: faults.sh [ROW[,ROW...]]
set -eu
cd "$(dirname "$0")/.."
[ -n "${1:-}" ] || exec scripts/molecule.sh faults
PATH=$PWD/.venv/bin:$PATH
export PATH
# A server that was kept is tested as it is; converge brings it up to date.
[ "$(docker inspect --format '{{.State.Running}}' faults12 2>/dev/null)" = true ] || molecule converge -s faults
FAULTS_ROW=$1 exec molecule verify -s faults
