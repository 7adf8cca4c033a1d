#!/bin/sh
# Runs the benchmarks, all or one; their results are in bench/results. Exit status 1 when a limit is not kept.
# Usage: bench.sh [NAME [ARGUMENT...]]     (the arguments are in the head of bench/NAME.py)
set -eu
cd "$(dirname "$0")/.."

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
            echo "bench: there is no '$name'; there are: appendfsync converge deploys growth unchanged worker workload" >&2
            return 1
            ;;
    esac
}

if [ "$#" -gt 0 ]; then
    run "$@"
    exit
fi
broken=
for each in converge unchanged deploys growth worker workload appendfsync; do
    run "$each" || broken="$broken $each"
done
if [ -n "$broken" ]; then
    echo "bench: a limit is not kept, or it could not be measured:$broken" >&2
    exit 1
fi
