"""How the time of a run grows with the number of servers, over SSH.

Usage: growth.py [ROUNDS [SIZES]]     (3 rounds, sizes 1,2,4,8; `make bench BENCH=growth` calls it)

A size is a number of servers. The first server has everything, workers as well; each further one has workers
only. Every size is an inventory with servers of its own, because what the first one is told depends on the
others (TLS, firewall), and because Ansible reads all hosts of an inventory, whichever it runs for.

What a further host costs, as a share of the first: (T(n) - T(1)) / (n - 1) / T(1), with T(n) the seconds of a
run with n servers, T(1) that of the same round. All sizes take turns in every round. All servers share this
machine's cores, so the shares are upper bounds: servers of their own would work at the same time. What the
controller's processor does for a further one is left then, so it is measured as well.

Writes bench/results/growth.md and .json. Exit status 1 when the limit is not kept.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from common import listed, machine, play, table, unchanged, write
from plot import bars
from releases import good
from servers import GROUPS, WHAT, Servers, servers

LIMIT = 0.35
FIRST, NOTHING, CODE = "first converge", "site.yml, nothing new", "deploy.yml, new code"
# A first converge keeps a server busy all the time: on shared cores its share says more about them.
LIMITED = (NOTHING, CODE)

#: Seconds of each round by size.
Seconds = dict[int, list[float]]


def shares(seconds: Mapping[int, Sequence[float]]) -> dict[int, list[float]]:
    """What a further host costs, of the first, in each round by size."""
    return {
        size: [
            round((time - first) / (size - 1) / first, 3)
            for time, first in zip(seconds[size], seconds[1], strict=True)
        ]
        for size in seconds
        if size > 1
    }


def measure(
    fleets: Mapping[int, Servers], rounds: int, directory: Path
) -> tuple[dict[str, Seconds], dict[str, Seconds]]:
    """Seconds of every run by kind and size, and those of the controller's processor.

    Raises RuntimeError when a run goes wrong."""
    kinds = (FIRST, NOTHING, CODE)
    seconds: dict[str, Seconds] = {kind: {size: [] for size in fleets} for kind in kinds}
    processor: dict[str, Seconds] = {kind: {size: [] for size in fleets} for kind in kinds}
    sources = {size: str(good(directory, f"first-{size}")) for size in fleets}

    def timed(kind: str, size: int, playbook: str) -> None:
        for fleet in fleets.values():
            fleet.wait_until_drained()
        run = play(f"playbooks/{playbook}.yml", fleets[size].ssh, {"app_source": sources[size]})
        if kind == NOTHING:
            unchanged(run)
        seconds[kind][size].append(round(run.seconds, 1))
        processor[kind][size].append(round(run.processor_seconds, 1))
        print(f"{size} servers: {kind}: {run.seconds:.1f} s", flush=True)

    # The largest first: what is not in the caches yet counts against the limit, not for it.
    for size in sorted(fleets, reverse=True):
        timed(FIRST, size, "site")
    sizes = sorted(fleets)
    for number in range(rounds):
        turn = number % len(sizes)
        for size in sizes[turn:] + sizes[:turn]:
            timed(NOTHING, size, "site")
            sources[size] = str(good(directory, f"{size}-{number}"))
            timed(CODE, size, "deploy")
    return seconds, processor


def report(seconds: Mapping[str, Seconds], processor: Mapping[str, Seconds]) -> list[str]:
    """The result in Markdown."""
    rows = [
        [
            kind,
            size,
            listed(values),
            round(median(values), 1),
            f"{median(shares(seconds[kind])[size]):.0%}" if size > 1 else "",
            round(median(processor[kind][size]), 1),
        ]
        for kind in seconds
        for size, values in sorted(seconds[kind].items())
    ]
    return [
        *table(
            [
                "Run",
                "Servers",
                "Seconds of each round",
                "Median",
                "A further one, of the first",
                "Controller's processor, s",
            ],
            *rows,
        ),
        "",
        f"Limit: a further server costs at most {LIMIT:.0%} of the first, for {' and '.join(LIMITED)}.",
        "All servers share the cores of one machine: the shares are upper bounds. What a further one adds to",
        "the last column is what no core of its own takes over.",
    ]


def main() -> int:
    """Exit status: 0 when the limit is kept."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    sizes = sorted({1, *map(int, sys.argv[2].split(","))}) if len(sys.argv) > 2 else [1, 2, 4, 8]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        fleets = {
            size: stack.enter_context(servers(directory / f"of{size}", [GROUPS] + [["workers"]] * (size - 1)))
            for size in sizes
        }
        seconds, processor = measure(fleets, rounds, directory)
    found = {kind: shares(by_size) for kind, by_size in seconds.items()}
    arguments = [rounds, ",".join(map(str, sizes))]
    result = {
        "machine": machine(WHAT),
        "seconds": seconds,
        "processor_seconds": processor,
        "shares": found,
    }
    picture = bars(
        "s", {f"{kind}, {size}": median(times[size]) for kind, times in seconds.items() for size in sizes}
    )
    title = "Growth with the number of servers"
    write("growth", title, arguments, result, report(seconds, processor), picture)
    return int(any(median(values) > LIMIT for kind in LIMITED for values in found[kind].values()))


if __name__ == "__main__":
    sys.exit(main())
