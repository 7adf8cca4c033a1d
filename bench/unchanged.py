"""How long a run of site.yml takes that changes nothing, on one server, beside what others take.

Usage: unchanged.py [ROUNDS]     (3; `make bench BENCH=unchanged` calls it)

Beside it, in every round, over SSH as well:
- the same run with Mitogen, where that is installed (docs/performance.md);
- a play of as many `ping` tasks as the run has: what Ansible itself costs;
- the second run of the roles in bench/peers.yml, which set up the same services without an application, on a
  server of their own. Without Galaxy they are left out, and their limit is not checked. Roles that are in
  .cache/peers already are not fetched.

Writes bench/results/unchanged.md and .json. Exit status 1 when the limit is not kept.
"""

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from common import listed, machine, medians, play, table, unchanged, write
from plot import bars
from servers import WHAT, Servers, servers
from stack import PROJECT

LIMIT = 0.6
REQUIREMENTS = PROJECT / "bench/peers.yml"
ROLES = PROJECT / ".cache/peers"
SITE = "playbooks/site.yml"
SSH, MITOGEN, DOCKER, PINGS, PEERS = (
    "site.yml over SSH",
    "site.yml over SSH, Mitogen",
    "site.yml over Docker",
    "pings over SSH",
    "peers over SSH",
)
SLOWEST = 10

# One of each thing that Rootstock sets up as well.
PEERS_VARIABLES = {
    "postgresql_locales": [],
    "postgresql_databases": [{"name": "shop", "lc_collate": "C.UTF-8", "lc_ctype": "C.UTF-8"}],
    "postgresql_users": [{"name": "shop"}],
    "nginx_vhosts": [{"listen": "80 default_server", "server_name": "localhost", "root": "/var/www/html"}],
    "nginx_remove_default_vhost": True,
    "supervisor_programs": [{"name": "program", "command": "sleep infinity", "state": "present"}],
}


def written(path: Path, **keys: Any) -> Path:
    """A playbook of one play for all hosts, with these keys, at that path."""
    path.write_text(json.dumps([{"hosts": "all", "become": True, **keys}]))
    return path


def pings(path: Path, count: int) -> Path:
    """A playbook of so many tasks that do nothing."""
    return written(path, gather_facts=False, tasks=[{"ansible.builtin.ping": None}] * count)


def peers(path: Path) -> Path | None:
    """A playbook with the peers' roles, which are there then; None where they cannot be fetched."""
    galaxy = [str(PROJECT / ".venv/bin/ansible-galaxy"), "role", "install"]
    arguments = ["--role-file", str(REQUIREMENTS), "--roles-path", str(ROLES)]
    done = subprocess.run([*galaxy, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"without the peers: {done.stdout}{done.stderr}", flush=True)
        return None
    roles = [role["name"] for role in yaml.safe_load(REQUIREMENTS.read_text())["roles"]]
    # The lists of packages are fresh for an hour, as Rootstock takes them to be.
    update = {"ansible.builtin.apt": {"update_cache": True, "cache_valid_time": 3600}}
    return written(path, vars=PEERS_VARIABLES, pre_tasks=[update], roles=roles)


def mitogen() -> dict[str, str] | None:
    """The environment in which Ansible uses Mitogen; None where it is not installed."""
    spec = importlib.util.find_spec("ansible_mitogen")
    if not (spec and spec.submodule_search_locations):
        return None
    plugins = Path(spec.submodule_search_locations[0]) / "plugins/strategy"
    return {"ANSIBLE_STRATEGY": "mitogen_linear", "ANSIBLE_STRATEGY_PLUGINS": str(plugins)}


def slowest(output: str) -> list[tuple[str, float]]:
    """Names and seconds of the tasks that ansible.posix.profile_tasks lists at the end of its output."""
    recap = output.partition("TASKS RECAP")[2]
    found = re.findall(r"^(.+?) -+ ?(\d+\.\d\d)s$", recap, re.MULTILINE)
    return [(name, float(seconds)) for name, seconds in found]


def measure(stack: ExitStack, rounds: int, directory: Path) -> dict[str, Any]:
    """Seconds of each kind of run, numbers of tasks, the slowest tasks."""
    ours = stack.enter_context(servers(directory / "ours"))
    play(SITE, ours.ssh)
    first = unchanged(play(SITE, ours.ssh))
    # Playbook, inventory, environment.
    kinds: dict[str, tuple[str | Path, Path, dict[str, str]]] = {
        SSH: (SITE, ours.ssh, {}),
        DOCKER: (SITE, ours.docker, {}),
        PINGS: (pings(directory / "pings.yml", first.total("ok")), ours.ssh, {}),
    }
    if faster := mitogen():
        kinds[MITOGEN] = (SITE, ours.ssh, faster)
    if roles := peers(directory / "peers.yml"):
        theirs = stack.enter_context(servers(directory / "theirs"))
        kinds[PEERS] = (roles, theirs.ssh, {"ANSIBLE_ROLES_PATH": str(ROLES)})
        play(roles, theirs.ssh, environment=kinds[PEERS][2])
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    tasks = {}
    for number in range(rounds):
        turn = number % len(kinds)
        for kind in list(kinds)[turn:] + list(kinds)[:turn]:
            playbook, inventory, environment = kinds[kind]
            run = unchanged(play(playbook, inventory, environment=environment))
            seconds[kind].append(round(run.seconds, 1))
            tasks[kind] = {"run": run.total("ok"), "skipped": run.total("skipped")}
            print(f"round {number + 1}: {kind}: {run.seconds:.1f} s", flush=True)
    return {"seconds": seconds, "medians": medians(seconds), "tasks": tasks, "slowest": profile(ours)}


def profile(ours: Servers) -> list[tuple[str, float]]:
    """Names and seconds of the slowest tasks of a run over SSH."""
    run = play(
        SITE,
        ours.ssh,
        environment={
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
            "PROFILE_TASKS_TASK_OUTPUT_LIMIT": str(SLOWEST),
        },
    )
    return slowest(run.output)


def report(result: Mapping[str, Any]) -> list[str]:
    """The result in Markdown."""
    found: Mapping[str, float] = result["medians"]
    rows = []
    for kind, values in result["seconds"].items():
        tasks = result["tasks"][kind]
        cells: Sequence[object] = [
            f"{1000 * found[kind] / tasks['run']:.0f}",
            f"{found[SSH] / found[kind]:.2f}",
        ]
        rows.append([kind, listed(values), found[kind], tasks["run"], tasks["skipped"], *cells])
    columns = ["Run", "Seconds of each round", "Median", "Tasks run", "Skipped", "ms a task"]
    limit = f"Limit: {SSH} takes at most {LIMIT:g} of the peers' second run"
    return [
        *table([*columns, f"{SSH}, of it"], *rows),
        "",
        limit + ("." if PEERS in found else "; not checked: their roles could not be fetched."),
        "",
        "The slowest tasks over SSH, in seconds, of one more run:",
        "",
        *table(["Task", "Seconds"], *result["slowest"]),
    ]


def main() -> int:
    """Exit status: 0 when the limit is kept, or cannot be checked."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        result = {"machine": machine(WHAT)} | measure(stack, rounds, Path(name))
    found = result["medians"]
    write("unchanged", "A run that changes nothing", [rounds], result, report(result), bars("s", found))
    return int(PEERS in found and found[SSH] > LIMIT * found[PEERS])


if __name__ == "__main__":
    sys.exit(main())
