"""How long a deploy takes beside a whole run of site.yml, over SSH, on Molecule's server of scenario release.

Usage: deploys.py INVENTORY [ROUNDS]    (scripts/with_server.sh makes the server and calls it)

Every round times each kind of run once, in an order that moves on from round to round, and each starts when
nothing drains any more. Writes bench/results/deploys.md and .json. Exit status 1 when a limit is not kept.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import testinfra

from generations import wait_until_drained
from interruption import Playbooks
from releases import good
from stack import PROJECT, Stack

RESULTS = PROJECT / "bench/results"
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


def machine() -> dict[str, Any]:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ansible_core": version("ansible-core"),
        "server": "Debian 12 container on the same machine, over SSH as a user with sudo",
    }


def report(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    medians, where = result["medians"], result["machine"]
    whole = medians["site.yml, new code"]
    lines = [
        "# Deploys",
        "",
        f"{where['date']}, {where['cores']} cores, {where['memory_gib']} GiB, "
        f"ansible-core {where['ansible_core']}. {where['server']}. The requirements do not change.",
        "Only the last column can be compared with other machines. Repeat: `make bench`.",
        "",
        "| Run | Seconds of each round | Median | Of a whole run with new code |",
        "|---|---|---|---|",
    ]
    for name, seconds in result["seconds"].items():
        each = ", ".join(map(str, seconds))
        lines.append(f"| {name} | {each} | {medians[name]} | {medians[name] / whole:.0%} |")
    lines += ["", f"Limits for deploy.yml with new code: {DEPLOY_SECONDS:g} s and {DEPLOY_SHARE:.0%}."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Exit status: 0 when the limits are kept."""
    inventory, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as directory:
        seconds = measure(inventory, rounds, Path(directory))
    medians = {name: round(statistics.median(values), 1) for name, values in seconds.items()}
    result = {"machine": machine(), "seconds": seconds, "medians": medians}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "deploys.json").write_text(json.dumps(result, indent=2) + "\n")
    (RESULTS / "deploys.md").write_text(report(result))
    print(report(result))
    deploy = medians["deploy.yml, new code"]
    return int(deploy > DEPLOY_SECONDS or deploy > DEPLOY_SHARE * medians["site.yml, new code"])


if __name__ == "__main__":
    sys.exit(main())
