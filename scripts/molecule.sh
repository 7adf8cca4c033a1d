#!/bin/sh
# Runs the whole sequence of one Molecule scenario.
# Usage: molecule.sh SCENARIO [molecule test options]
set -eu
cd "$(dirname "$0")/.."
scenario=$1
shift
[ -e "molecule/$scenario/molecule.yml" ] || {
    printf "molecule: there is no scenario '%s'; there are: %s\n" "$scenario" \
        "$(for file in molecule/*/molecule.yml; do echo "$file" | cut -d/ -f2; done | tr '\n' ' ')" >&2
    exit 1
}
# Molecule only warns when a scenario has no tests. They are in its directory, or stand for themselves.
tests=molecule/$scenario/tests
[ -e "$tests" ] || tests=tests/$scenario
ls "$tests/"test_*.py >/dev/null 2>&1 || {
    echo "molecule: scenario '$scenario' has no tests" >&2
    exit 1
}
# The scenario release reaches its server as users do.
command -v ssh >/dev/null 2>&1 || {
    echo "molecule: no ssh. Install it: apt-get install openssh-client" >&2
    exit 1
}
PATH=$PWD/.venv/bin:$PATH
export PATH
exec python3 scripts/molecule_failures.py molecule test -s "$scenario" "$@"
