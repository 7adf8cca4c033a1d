"""How long a deploy takes beside a whole run of site.yml, over SSH, on one server.

Usage: deploys.py [ROUNDS]    (3; `make bench BENCH=deploys` calls it)

Every round times each kind of run once, in an order that moves on from round to round, and each starts when
nothing drains any more. Writes bench/results/deploys.md and .json. Exit status 1 when a limit is not kept.
"""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from common import listed, machine, medians, play, table, write
from plot import bars
from releases import good
from servers import WHAT, servers

DEPLOY_SECONDS = 25.0
DEPLOY_SHARE = 0.6
WHOLE, DEPLOY = "site.yml, new code", "deploy.yml, new code"

# What is timed: name, playbook, whether the code is new.
KINDS = [
    ("site.yml, nothing new", "site", False),
    (WHOLE, "site", True),
    ("deploy.yml, nothing new", "deploy", False),
    (DEPLOY, "deploy", True),
    ("rollback.yml", "rollback", False),
]


def measure(rounds: int, directory: Path) -> dict[str, list[float]]:
    """Seconds of every run by kind. Raises RuntimeError when a run goes wrong."""
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in KINDS}
    with ExitStack() as stack:
        server = stack.enter_context(servers(directory / "one"))
        source = good(directory, "first")
        play("playbooks/site.yml", server.ssh, {"app_source": str(good(directory, "before"))})
        play("playbooks/deploy.yml", server.ssh, {"app_source": str(source)})
        for number in range(rounds):
            turn = number % len(KINDS)
            for name, playbook, new in KINDS[turn:] + KINDS[:turn]:
                if new:
                    source = good(directory, f"{number}-{playbook}")
                server.wait_until_drained()
                run = play(f"playbooks/{playbook}.yml", server.ssh, {"app_source": str(source)})
                if (run.total("changed") > 0) != (new or playbook == "rollback"):
                    raise RuntimeError(f"{name} changed what it should not, or nothing:\n{run.output}")
                seconds[name].append(round(run.seconds, 1))
                print(f"round {number + 1}: {name}: {run.seconds:.1f} s", flush=True)
                if playbook == "rollback":
                    server.wait_until_drained()
                    play("playbooks/deploy.yml", server.ssh, {"app_source": str(source)})
    return seconds


def report(seconds: Mapping[str, list[float]], found: Mapping[str, float]) -> list[str]:
    """The result in Markdown."""
    rows = [
        [name, listed(values), found[name], f"{found[name] / found[WHOLE]:.0%}"]
        for name, values in seconds.items()
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
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as directory:
        seconds = measure(rounds, Path(directory))
    found = medians(seconds)
    result = {"machine": machine(WHAT), "seconds": seconds, "medians": found}
    write("deploys", "Deploys", [rounds], result, report(seconds, found), bars("s", found))
    return int(found[DEPLOY] > DEPLOY_SECONDS or found[DEPLOY] > DEPLOY_SHARE * found[WHOLE])


if __name__ == "__main__":
    sys.exit(main())
