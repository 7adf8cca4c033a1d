"""playbooks/secrets.yml makes an inventory's vault file once: encrypted, 0600, never touched again."""

import os
import re
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from repository import PROJECT

BIN = PROJECT / ".venv/bin"
NAMES = {
    "vault_django_secret_key",
    "vault_flower_internal_password",
    "vault_flower_password",
    "vault_postgresql_password",
    "vault_redis_password",
}


@dataclass(frozen=True)
class Inventory:
    """An inventory of its own, with a vault password of its own."""

    path: Path
    environment: Mapping[str, str]

    @property
    def vault(self) -> Path:
        return self.path / "group_vars/all/vault.yml"

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def generate(self) -> str:
        done = self.run("ansible-playbook", "-i", self.path, "playbooks/secrets.yml")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    base = tmp_path_factory.mktemp("secrets")
    password = base / "vault-password"
    password.write_text("of this test\n")
    (base / "inventory/group_vars/all").mkdir(parents=True)
    (base / "inventory/hosts.yml").write_text("all: {hosts: {one: {}, two: {}}}\n")
    environment = {**os.environ, "ANSIBLE_VAULT_PASSWORD_FILE": str(password)}
    found = Inventory(base / "inventory", environment)
    found.generate()
    return found


def test_the_file_is_encrypted_and_for_its_owner_only(inventory: Inventory) -> None:
    assert inventory.vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert stat.S_IMODE(inventory.vault.stat().st_mode) == 0o600


def test_every_secret_is_there_and_none_twice(inventory: Inventory) -> None:
    plain = inventory.run("ansible-vault", "view", inventory.vault)
    assert plain.returncode == 0, plain.stderr
    secrets = yaml.safe_load(plain.stdout)
    assert set(secrets) == NAMES
    assert all(re.fullmatch("[A-Za-z0-9]{40}", value) for value in secrets.values())
    assert len(set(secrets.values())) == len(NAMES)


def test_plays_read_the_values(inventory: Inventory) -> None:
    question = ("ansible", "-i", inventory.path, "one", "-m", "ansible.builtin.debug")
    done = inventory.run(*question, "-a", "msg={{ vault_redis_password | length }}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "msg: 40" in done.stdout or '"msg": "40"' in done.stdout


def test_a_second_run_changes_nothing(inventory: Inventory) -> None:
    before = inventory.vault.read_bytes()
    output = inventory.generate()
    assert sum(int(figure) for figure in re.findall(r"changed=(\d+)", output)) == 0
    assert inventory.vault.read_bytes() == before


def test_the_wiring_uses_no_secret_that_is_not_generated() -> None:
    wiring = (PROJECT / "playbooks/group_vars/all/wiring.yml").read_text()
    assert set(re.findall(r"\bvault_\w+", wiring)) == NAMES
