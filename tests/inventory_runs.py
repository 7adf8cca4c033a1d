"""Runs of playbooks that touch no server, on an inventory with a directory and vault password of its own."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from repository import PROJECT

BIN = PROJECT / ".venv/bin"
SECRETS = {
    "vault_django_secret_key",
    "vault_flower_internal_password",
    "vault_flower_password",
    "vault_postgresql_password",
    "vault_redis_password",
}
# It stands for the servers, and need not be fit to be one.
THIS_MACHINE = {
    "ansible_connection": "local",
    "ansible_become": False,
    "ansible_python_interpreter": sys.executable,
    "preflight_waived": ["memory", "disk", "distribution"],
}


@dataclass(frozen=True)
class Inventory:
    """An inventory, and the file with its vault password."""

    path: Path
    password: Path

    @property
    def vault(self) -> Path:
        return self.path / "group_vars/all/vault.yml"

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible; nothing can be typed into it."""
        return subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_VAULT_PASSWORD_FILE": str(self.password)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def generate_secrets(self) -> subprocess.CompletedProcess[str]:
        return self.run("ansible-playbook", "-i", self.path, "playbooks/secrets.yml")

    def preflight(self) -> subprocess.CompletedProcess[str]:
        extra = ("--extra-vars", json.dumps(THIS_MACHINE))
        return self.run("ansible-playbook", "-i", self.path, "playbooks/preflight.yml", *extra)

    def load(self, name: str) -> dict[str, Any]:
        """Return a file of the inventory that is not encrypted."""
        loaded: dict[str, Any] = yaml.safe_load((self.path / name).read_text())
        return loaded

    def secrets(self, vault: Path) -> dict[str, str]:
        """Return what a vault file has."""
        plain = self.run("ansible-vault", "view", vault)
        assert plain.returncode == 0, plain.stderr
        found: dict[str, str] = yaml.safe_load(plain.stdout)
        return found


def inventory_at(path: Path) -> Inventory:
    """Return an inventory, there or not, with a new vault password beside it."""
    password = path.parent / "vault-password"
    password.write_text("of this test\n")
    return Inventory(path, password)


def passed(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a playbook said that must not fail."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return on one line, as if the terminal were wide, what a playbook said that must fail in a task."""
    assert done.returncode == 2, done.stdout + done.stderr
    return re.sub(r"\s+", " ", done.stdout)


def changes(output: str) -> int:
    """Return the number of changed tasks in a playbook's output."""
    figures = re.findall(r"\bchanged=(\d+)", output)
    assert figures, output
    return sum(int(figure) for figure in figures)
