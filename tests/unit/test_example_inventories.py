"""The inventories that are there to be read and copied pass preflight once they have secrets."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from inventory_runs import BIN, inventory_at, passed
from repository import PROJECT

INVENTORIES = PROJECT / "inventories"
EXAMPLES = ("fleet", "single", "two-apps")
# What inventories/single was made with; the sample application needs the environment.
SINGLE = {
    "inventory_hosts": "192.0.2.10",
    "inventory_user": "admin",
    "app_name": "shop",
    "app_domain": "shop.example.net",
    "app_source": "sample_app",
    "app_environment": {
        "CRM_URL": "https://crm.example.net/api",
        "PAYMENT_GATEWAY_URL": "https://payments.example.net/v1",
    },
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_preflight_takes_it_once_it_has_secrets(name: str, tmp_path: Path) -> None:
    # As in the repository, because paths lead from the inventory to the sample application.
    (tmp_path / "sample_app").symlink_to(PROJECT / "sample_app")
    shutil.copytree(INVENTORIES / name, tmp_path / "inventories" / name)
    inventory = inventory_at(tmp_path / "inventories" / name)
    passed(inventory.generate_secrets())
    passed(inventory.preflight())


def test_single_is_what_the_playbook_makes(tmp_path: Path) -> None:
    (tmp_path / "sample_app").mkdir()
    shutil.copytree(PROJECT / "sample_app/shop", tmp_path / "sample_app/shop")
    for name in ("manage.py", "requirements.txt"):
        shutil.copy(PROJECT / "sample_app" / name, tmp_path / "sample_app")
    (tmp_path / "inventories").mkdir()
    inventory = inventory_at(tmp_path / "inventories/single")
    given = SINGLE | {"inventory_name": "single", "inventory_directory": str(inventory.path)}
    # A relative path starts where the playbook is called.
    subprocess.run(
        [
            BIN / "ansible-playbook",
            "-i",
            "localhost,",
            str(PROJECT / "playbooks/inventory.yml"),
            "-e",
            json.dumps(given),
        ],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_VAULT_PASSWORD_FILE": str(inventory.password)},
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    for name in ("hosts.yml", "group_vars/all/main.yml"):
        assert (INVENTORIES / "single" / name).read_text() == (inventory.path / name).read_text()


def test_six_values_are_numbered() -> None:
    texts = [(INVENTORIES / "single" / name).read_text() for name in ("hosts.yml", "group_vars/all/main.yml")]
    numbered = re.findall(r"^ *# (\d)\. .*\n *(\w+):", "".join(texts), re.MULTILINE)
    assert numbered == [
        ("1", "ansible_host"),
        ("2", "ansible_user"),
        ("3", "app_name"),
        ("4", "app_domain"),
        ("5", "app_source"),
        ("6", "app_settings_module"),
    ]


def test_no_example_has_secrets_in_the_repository() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "inventories"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert listed
    assert [name for name in listed if "vault" in name] == []
