"""playbooks/inventory.yml starts an inventory once; with the values given, preflight takes it as it is."""

import json
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from inventory_runs import SECRETS, Inventory, changes, inventory_at, passed, refused
from repository import PROJECT

FILES = {"hosts.yml", "group_vars/all/main.yml", "group_vars/all/vault.yml"}
# What the sample application needs besides.
ENVIRONMENT = {"CRM_URL": "https://crm.example.net", "PAYMENT_GATEWAY_URL": "https://pay.example.net"}
GIVEN: dict[str, Any] = {
    "inventory_hosts": "10.0.0.1",
    "inventory_user": "admin",
    "app_name": "shop",
    "app_domain": "shop.example.net",
    "app_source": str(PROJECT / "sample_app"),
    "app_environment": ENVIRONMENT,
}


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository and an index that cannot be reached, at once."""
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def generate(inventory: Inventory, **values: Any) -> subprocess.CompletedProcess[str]:
    given = {"inventory_name": "production", "inventory_directory": str(inventory.path)} | values
    # As JSON, because a value may have blanks.
    extra = ("--extra-vars", json.dumps(given))
    return inventory.run("ansible-playbook", "-i", "localhost,", "playbooks/inventory.yml", *extra)


def made(base: Path, **values: Any) -> tuple[Inventory, str]:
    """Return an inventory and what making it said."""
    inventory = inventory_at(base / "production")
    return inventory, passed(generate(inventory, **values))


def hosts_of(inventory: Inventory, group: str) -> list[str]:
    return list(inventory.load("hosts.yml")["all"]["children"][group]["hosts"])


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inventory, str]:
    """One server, every value given: only read by tests."""
    return made(tmp_path_factory.mktemp("single"), **GIVEN)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inventory, str]:
    """Nothing but the name given: only read by tests."""
    return made(tmp_path_factory.mktemp("marked"))


def test_files_and_modes(single: tuple[Inventory, str]) -> None:
    path = single[0].path
    files = {
        str(file.relative_to(path)): stat.S_IMODE(file.stat().st_mode)
        for file in path.rglob("*")
        if file.is_file()
    }
    assert files == {name: 0o600 if "vault" in name else 0o644 for name in FILES}


def test_one_server_is_in_every_group(single: tuple[Inventory, str]) -> None:
    everything = single[0].load("hosts.yml")["all"]
    assert everything["hosts"] == {"server1": {"ansible_host": "10.0.0.1"}}
    assert {group: list(found["hosts"]) for group, found in everything["children"].items()} == {
        group: ["server1"] for group in ("redis", "postgresql", "web", "workers", "beat", "flower")
    }


def test_the_values_are_those_given_and_those_read_in_the_project(single: tuple[Inventory, str]) -> None:
    values = single[0].load("group_vars/all/main.yml")
    assert values["app_source"] == str(PROJECT / "sample_app")
    assert (values["app_settings_module"], values["app_wsgi_module"]) == ("shop.settings", "shop.wsgi")
    queues = [pool["queues"] for pool in values["celery_worker_pools"]]
    assert queues == [["critical"], ["default"], ["low-priority"]]
    assert not {"redis_bind_addresses", "postgresql_listen_addresses"} & set(values)


def test_the_secrets_are_encrypted_long_and_all_different(single: tuple[Inventory, str]) -> None:
    inventory, said = single
    assert inventory.vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    secrets = inventory.secrets(inventory.vault)
    assert set(secrets) == SECRETS
    assert all(re.fullmatch("[A-Za-z0-9]{40}", value) for value in secrets.values())
    assert len(set(secrets.values())) == len(SECRETS)
    assert [name for name, value in secrets.items() if value in said] == []


def test_preflight_takes_it_as_it_is(single: tuple[Inventory, str]) -> None:
    passed(single[0].preflight())


def test_another_vault_password_is_refused_before_anything_else(
    single: tuple[Inventory, str], tmp_path: Path
) -> None:
    (tmp_path / "another").write_text("another\n")
    done = Inventory(single[0].path, tmp_path / "another").preflight()
    assert done.returncode != 0
    assert "TASK [" not in done.stdout
    assert "Decryption failed" in done.stderr


def test_a_missing_vault_password_file_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path / "production", tmp_path / "none")
    done = generate(inventory, **GIVEN)
    assert done.returncode != 0
    assert f"The vault password file {tmp_path}/none was not found" in re.sub(r"\s+", " ", done.stderr)
    assert not inventory.path.exists()


def test_a_second_run_changes_nothing_and_keeps_what_was_edited(tmp_path: Path) -> None:
    inventory, _ = made(tmp_path, **GIVEN)
    for name in FILES - {"group_vars/all/vault.yml"}:
        (inventory.path / name).write_text("all: {} # edited\n")
    before = {name: (inventory.path / name).read_bytes() for name in FILES}
    said = passed(generate(inventory, **GIVEN | {"app_domain": "other.example.net"}))
    assert changes(said) == 0
    assert "had already, and nothing was changed" in said
    assert {name: (inventory.path / name).read_bytes() for name in FILES} == before


def test_three_servers(tmp_path: Path) -> None:
    inventory, _ = made(tmp_path, **GIVEN | {"inventory_hosts": "10.0.0.1, fd00::2,10.0.0.3"})
    assert list(inventory.load("hosts.yml")["all"]["hosts"].values()) == [
        {"ansible_host": address} for address in ("10.0.0.1", "fd00::2", "10.0.0.3")
    ]
    assert hosts_of(inventory, "workers") == ["server1", "server2", "server3"]
    for group in ("redis", "postgresql", "web", "beat", "flower"):
        assert hosts_of(inventory, group) == ["server1"]
    values = inventory.load("group_vars/all/main.yml")
    assert values["redis_bind_addresses"] == ["127.0.0.1", "-::1", "10.0.0.1"]
    assert values["postgresql_listen_addresses"] == ["127.0.0.1", "10.0.0.1"]
    passed(inventory.preflight())


def test_a_server_with_a_name_leaves_its_address_to_be_set(tmp_path: Path) -> None:
    inventory, said = made(tmp_path, **GIVEN | {"inventory_hosts": "data.example.net,10.0.0.2,cafe"})
    values = inventory.load("group_vars/all/main.yml")
    assert values["redis_bind_addresses"] == ["127.0.0.1", "-::1", "CHANGE_ME"]
    assert values["postgresql_listen_addresses"] == ["127.0.0.1", "CHANGE_ME"]
    assert 'group_vars/all/main.yml: redis_bind_addresses: ["127.0.0.1", "-::1", "CHANGE_ME"]' in said


def test_what_is_not_given_is_marked_and_named(marked: tuple[Inventory, str]) -> None:
    inventory, said = marked
    for name in ("app_name", "app_domain", "app_source", "app_settings_module"):
        assert inventory.load("group_vars/all/main.yml")[name] == "CHANGE_ME"
        assert f'group_vars/all/main.yml: {name}: "CHANGE_ME"' in said
    assert 'hosts.yml: ansible_host: "CHANGE_ME"\n' in said
    assert 'hosts.yml: ansible_user: "CHANGE_ME"\n' in said
    assert said.partition("Left to set:")[2].count("CHANGE_ME") == 6


def test_preflight_refuses_what_is_marked_and_names_it(marked: tuple[Inventory, str]) -> None:
    message = refused(marked[0].preflight())
    for name in (
        "ansible_host",
        "ansible_user",
        "app_name",
        "app_domain",
        "app_source",
        "app_settings_module",
    ):
        assert name in message
    assert "Preflight found 6 problems" in message
    assert "CHANGE_ME" in message


def test_what_is_read_is_written_and_said(tmp_path: Path) -> None:
    """An application with names of its own, of which preflight asks for nothing more."""
    code = tmp_path / "code"
    shutil.copytree(PROJECT / "tests/apps/guestbook/backend", code / "backend")
    inventory, said = made(tmp_path, **GIVEN | {"app_source": str(code), "app_environment": {"A": "b"}})
    values = inventory.load("group_vars/all/main.yml")
    assert values["app_source"] == str(code / "backend")
    assert values["app_environment_names"]["DATABASE_URL"] == "GUESTBOOK_DB"
    assert values["django_app_readiness_path"] == "/health/"
    assert values["app_environment"] == {"A": "b"}
    found, guessed = said.index("Found:"), said.index("Guessed:")
    assert found < said.index("app_settings_module guestbook.settings (guestbook/wsgi.py)") < guessed
    assert guessed < said.index("django_app_readiness_path is /health/, by its name")
    passed(inventory.preflight())


def test_what_the_settings_need_is_left_to_be_set(tmp_path: Path) -> None:
    code = tmp_path / "code/shop"
    code.mkdir(parents=True)
    (code / "settings.py").write_text(
        "import os\nINSTALLED_APPS = []\nPLACE = os.environ['PLACE']\nTOKEN = os.environ['API_TOKEN']\n"
    )
    inventory, said = made(tmp_path, **GIVEN | {"app_source": str(code.parent), "app_environment": {}})
    assert inventory.load("group_vars/all/main.yml")["app_environment"] == {"PLACE": "CHANGE_ME"}
    left = said.partition("Left to set:")[2]
    assert "group_vars/all/main.yml: PLACE: CHANGE_ME" in left
    assert "group_vars/all/main.yml: #   API_TOKEN: CHANGE_ME" in left
    assert "Not found:" in said
    assert "an application of Celery: app_celery_application" in said


def test_code_from_git_needs_a_ref(tmp_path: Path) -> None:
    git = {"app_source": "https://git.example.net/team/shop.git", "app_settings_module": "shop.settings"}
    inventory, _ = made(tmp_path, **GIVEN | git)
    values = inventory.load("group_vars/all/main.yml")
    assert (values["app_source"], values["app_source_ref"]) == (git["app_source"], "CHANGE_ME")
    assert (values["app_wsgi_module"], values["app_celery_application"]) == ("shop.wsgi", "shop")


def test_of_a_package_that_cannot_be_reached_celery_is_left_to_be_set(tmp_path: Path) -> None:
    package = {"app_source": "shop-app==1.2", "app_settings_module": "shop.settings"}
    inventory, said = made(tmp_path, **GIVEN | package)
    values = inventory.load("group_vars/all/main.yml")
    assert (values["app_wsgi_module"], values["app_celery_application"]) == ("shop.wsgi", "CHANGE_ME")
    assert "the code, so nothing was read in it: pip says: " in said


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inventory_name": ""}, "inventory_name is ''"),
        ({"inventory_name": "../x"}, "inventory_name is '../x'"),
        ({"inventory_hosts": "admin@10.0.0.1"}, "inventory_hosts has 'admin@10.0.0.1'"),
        ({"app_source": "/none/of/this"}, "No such file or directory: /none/of/this"),
    ],
)
def test_values_that_cannot_be_are_refused(values: dict[str, str], message: str, tmp_path: Path) -> None:
    inventory = inventory_at(tmp_path / "production")
    # YAML doubles a quote within quotes.
    said = refused(generate(inventory, **GIVEN | values)).replace("''", "'")
    assert message.replace("''", "'") in said
    assert not inventory.path.exists()
