"""How long the first run of site.yml on a bare server takes, beside a script that installs the same things.

Usage: converge.py [ROUNDS]     (3; `make bench BENCH=converge` calls it)

Each round has two fresh servers with the same caches of packages, one for site.yml over SSH, until everything
is ready and probed, and one for bench/floor.sh; which comes first changes from round to round. It is an error
if one has other Debian packages than the other in the end.

Writes bench/results/converge.md and .json. Exit status 1 when the limit is not kept.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import demo

from common import listed, machine, medians, play, said, table, write
from plot import bars
from servers import WHAT, Servers, servers
from stack import PROJECT

LIMIT = 2.0
OURS, FLOOR = "site.yml", "floor.sh"
FILES = ("roles/django_app/files/uv.txt", "sample_app/requirements.txt")


def site(server: Servers) -> float:
    """Seconds of the first converge."""
    return play("playbooks/site.yml", server.ssh).seconds


def floor(server: Servers) -> float:
    """Seconds of the script. Raises RuntimeError with its output when it fails."""
    (name,) = server.names
    demo.docker("exec", name, "mkdir", "/opt/floor")
    for file in FILES:
        said("docker", "cp", file, f"{name}:/opt/floor/")
    begun = time.monotonic()
    done = subprocess.run(
        ["docker", "exec", "--interactive", name, "sh", "-s", "/opt/floor"],
        input=(PROJECT / "bench/floor.sh").read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise RuntimeError(f"floor.sh has failed:\n{done.stdout}{done.stderr}")
    return seconds


def packages(server: Servers) -> set[str]:
    """The Debian packages that are installed."""
    listing = demo.docker("exec", *server.names, "dpkg-query", "--show", "--showformat=${Package}\n").stdout
    return set(listing.split())


def measure(rounds: int, directory: Path) -> dict[str, list[float]]:
    """Seconds of both in every round. Raises RuntimeError when they do not install the same."""
    kinds: dict[str, Callable[[Servers], float]] = {OURS: site, FLOOR: floor}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        installed = {}
        for kind in sorted(kinds, reverse=number % 2 == 0):
            with servers(directory / f"{number}{kind[:4]}") as server:
                took = kinds[kind](server)
                installed[kind] = packages(server)
            seconds[kind].append(round(took, 1))
            print(f"round {number + 1}: {kind}: {took:.1f} s", flush=True)
        if installed[OURS] != installed[FLOOR]:
            raise RuntimeError(f"only one of them installs {sorted(installed[OURS] ^ installed[FLOOR])}")
    return seconds


def ratio(seconds: Mapping[str, list[float]]) -> float:
    """The median of the rounds' ratios."""
    return median(ours / least for ours, least in zip(seconds[OURS], seconds[FLOOR], strict=True))


def report(seconds: Mapping[str, list[float]]) -> list[str]:
    """The result in Markdown."""
    rows = [[kind, listed(seconds[kind]), found] for kind, found in medians(seconds).items()]
    return [
        *table(["First run on a bare server", "Seconds of each round", "Median"], *rows),
        "",
        f"{OURS} takes {ratio(seconds):.2f} x {FLOOR} (median of the rounds). Limit: {LIMIT:g} x.",
        f"{FLOOR} installs the same packages and requirements, configures nothing, starts no application.",
    ]


def main() -> int:
    """Exit status: 0 when the limit is kept."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        seconds = measure(rounds, Path(name))
    found = ratio(seconds)
    result = {"machine": machine(WHAT), "seconds": seconds, "medians": medians(seconds), "ratio": found}
    picture = bars("s", medians(seconds))
    write("converge", "First converge", [rounds], result, report(seconds), picture)
    return int(found > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
