#!/bin/sh
# Breaks a whole deployed server, a row of docs/promises.md after the other, and keeps the server.
# Usage: faults.sh [ROW[,ROW...]]; without a row all of them, three times each, with their controls, and the table of
# docs/promises.md is written. FAULTS_RUNS and FAULTS_CONTROLS say otherwise.
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
export PATH
rows=${1-}
export FAULTS_ROW="$rows"
if [ -z "$rows" ]; then
    export FAULTS_RUNS="${FAULTS_RUNS-3}" FAULTS_CONTROLS="${FAULTS_CONTROLS-1}"
    export FAULTS_RESULTS="$PWD/.cache/faults/results.jsonl"
    rm -f "$FAULTS_RESULTS"
fi
# What is there already is left as it is, so a row takes as long as the row.
molecule converge -s faults
status=0
molecule verify -s faults || status=$?
if [ -z "$rows" ]; then
    python scripts/fault_table.py "$FAULTS_RESULTS"
fi
exit "$status"
