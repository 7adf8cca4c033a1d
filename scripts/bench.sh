#!/bin/sh
# Runs the benchmarks, all or one; their results are in bench/results. Exit status 1 when a limit is not kept.
# Usage: bench.sh [--names | NAME [ARGUMENT...]]     (the arguments are in the head of bench/NAME.py)
set -eu
cd "$(dirname "$0")/.."
names="converge unchanged deploys growth worker workload appendfsync"

run() {
    name=$1
    shift
    case $name in
        appendfsync | worker) scripts/test_app.sh --bench "$name" "$@" ;;
        converge | deploys | growth | unchanged | workload)
            # What runs playbooks and watches servers for the tests, and the demo's containers, are used here, too.
            PYTHONPATH=tests:scripts .venv/bin/python "bench/$name.py" "$@"
            ;;
        *)
            echo "bench: there is no '$name'; there are: $names" >&2
            return 1
            ;;
    esac
}

if [ "${1:-}" = --names ]; then
    echo "$names"
    exit
fi
if [ "$#" -gt 0 ]; then
    run "$@"
    exit
fi
broken=
for each in $names; do
    run "$each" || broken="$broken $each"
done
if [ -n "$broken" ]; then
    echo "bench: a limit is not kept, or it could not be measured:$broken" >&2
    exit 1
fi
