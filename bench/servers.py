"""Fresh servers for the benchmarks: containers as in docs/testbed.md, reached over SSH by a user with sudo.

Their names have the process's number, so that they meet neither the tests' servers nor another benchmark's.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import demo

from common import play
from stack import DEMO_VAULT, PROJECT, wait_for

GROUPS = ("redis", "postgresql", "web", "workers", "beat", "flower")
WHAT = "Servers are Debian 12 containers on the same machine, reached over SSH by a user with sudo"


@dataclass(frozen=True)
class Servers:
    """Servers of one inventory, which is there twice: over SSH, and over the engine's connection."""

    names: list[str]
    ssh: Path
    docker: Path

    def wait_until_drained(self) -> None:
        """Wait until no server has programs of two generations any more."""
        for name in self.names:
            wait_for(partial(_drained, name), 120, f"{name} has drained")


def _drained(server: str) -> bool:
    status = demo.docker("exec", server, "supervisorctl", "status", check=False).stdout
    programs = [line.split()[0] for line in status.splitlines() if line]
    return len({program.split(".", 1)[1] for program in programs if "." in program}) < 2


@contextmanager
def servers(directory: Path, groups: Sequence[Sequence[str]] = (GROUPS,)) -> Iterator[Servers]:
    """Bare servers, ready for site.yml, one for each set of groups; removed at the end."""
    # Who is asked to end takes the servers away, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    directory.mkdir()
    names = [f"bench{os.getpid()}-{directory.name}-{number + 1}" for number in range(len(groups))]
    try:
        for name in names:
            demo.docker("run", *demo.run_arguments(demo.platform(), name))
        for name in names:
            demo.wait_for_systemd(name)
        found = _inventories(directory, dict(zip(names, groups, strict=True)))
        play("molecule/shared/server.yml", found.docker)
        play("playbooks/secrets.yml", found.docker, {"secrets_file": str(DEMO_VAULT)})
        play("molecule/shared/ssh.yml", found.ssh)
        yield found
    finally:
        demo.docker("rm", "--force", "--volumes", *names, check=False)


def _inventories(directory: Path, groups: dict[str, Sequence[str]]) -> Servers:
    address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    inspect = demo.docker("inspect", "--format", address, *groups)
    addresses = dict(zip(groups, inspect.stdout.split(), strict=True))
    connections = {
        "ssh": {
            # As users have it; and by its whole name Mitogen would not know it.
            "ansible_connection": "ssh",
            "ansible_ssh_common_args": f'-F "{directory}/ssh_config"',
        },
        "docker": {"ansible_connection": "community.docker.docker"},
    }
    paths = []
    for connection, variables in connections.items():
        path = directory / connection
        path.mkdir()
        (path / "group_vars").symlink_to(PROJECT / "inventories/demo/group_vars")
        hosts = {name: variables | _host(name, addresses[name], len(groups)) for name in groups}
        children = {group: {"hosts": {n: None for n in groups if group in groups[n]}} for group in GROUPS}
        # JSON is YAML.
        (path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts, "children": children}}))
        paths.append(path)
    return Servers(list(groups), *paths)


def _host(name: str, address: str, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {"ansible_host": address, "ansible_docker_host": name}
    if count > 1:
        found["redis_bind_addresses"] = ["127.0.0.1", "-::1", address]
        found["postgresql_listen_addresses"] = ["127.0.0.1", address]
    return found
