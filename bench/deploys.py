"""How long a deploy takes beside a whole run of site.yml, over SSH, on Molecule's server of scenario release.

Usage: deploys.py INVENTORY [ROUNDS]    (3; `make bench BENCH=deploys` makes the server and calls it)

Every round times each kind of run once, in an order that moves on from round to round, and each starts when
nothing drains any more. Writes bench/results/deploys.md and .json. Exit status 1 when a limit is not kept.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import testinfra

from common import listed, machine, medians, table, write
from generations import wait_until_drained
from interruption import Playbooks
from plot import bars
from releases import good
from servers import WHAT
from stack import Stack

SERVER = "release12"
DEPLOY_SECONDS = 25.0
DEPLOY_SHARE = 0.6

# What is timed: name, playbook, whether the code is new.
KINDS = [
    ("site.yml, nothing new", "site", False),
    ("site.yml, new code", "site", True),
    ("deploy.yml, nothing new", "deploy", False),
    ("deploy.yml, new code", "deploy", True),
    ("rollback.yml", "rollback", False),
]


def measure(inventory: str, rounds: int, directory: Path) -> dict[str, list[float]]:
    """Seconds of every run by kind. Raises AssertionError or RuntimeError when a run goes wrong."""
    (directory / "runs").mkdir()
    playbooks = Playbooks(inventory, directory / "runs")
    # Asked over the engine's own connection: what is timed is left alone.
    stack = Stack(testinfra.get_host(f"docker://{SERVER}"), directory)
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in KINDS}
    source = good(directory, "first")
    playbooks.run("deploy", {"app_source": str(source)})
    for round_number in range(rounds):
        for name, playbook, new in KINDS[round_number:] + KINDS[:round_number]:
            wait_until_drained(stack)
            if new:
                source = good(directory, f"{round_number}-{playbook}")
            run = playbooks.run(playbook, {"app_source": str(source)})
            if (run.figures["changed"] > 0) != (new or playbook == "rollback"):
                raise RuntimeError(f"{name} changed what it should not, or nothing:\n{run.output}")
            seconds[name].append(round(run.seconds, 1))
            print(f"round {round_number + 1}: {name}: {run.seconds:.1f} s", flush=True)
            if playbook == "rollback":
                wait_until_drained(stack)
                playbooks.run("deploy", {"app_source": str(source)})
    return seconds


def report(seconds: Mapping[str, list[float]], found: Mapping[str, float]) -> list[str]:
    """The result in Markdown."""
    whole = found["site.yml, new code"]
    rows = [
        [name, listed(values), found[name], f"{found[name] / whole:.0%}"] for name, values in seconds.items()
    ]
    return [
        "The requirements do not change.",
        "",
        *table(["Run", "Seconds of each round", "Median", "Of a whole run with new code"], *rows),
        "",
        f"Limits for deploy.yml with new code: {DEPLOY_SECONDS:g} s and {DEPLOY_SHARE:.0%}.",
    ]


def main() -> int:
    """Exit status: 0 when the limits are kept."""
    inventory, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as directory:
        seconds = measure(inventory, rounds, Path(directory))
    found = medians(seconds)
    result = {"machine": machine(WHAT), "seconds": seconds, "medians": found}
    write("deploys", "Deploys", [rounds], result, report(seconds, found), bars("s", found))
    deploy = found["deploy.yml, new code"]
    return int(deploy > DEPLOY_SECONDS or deploy > DEPLOY_SHARE * found["site.yml, new code"])


if __name__ == "__main__":
    sys.exit(main())
