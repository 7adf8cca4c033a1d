"""playbooks/secrets.yml makes an inventory's vault files once: encrypted, 0600, never touched again."""

import re
import shutil
import stat
from pathlib import Path

import pytest
import yaml

from inventory_runs import SECRETS, Inventory, changes, inventory_at, passed, refused
from repository import PROJECT

OWN = SECRETS - {"vault_redis_password"}


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    found = inventory_at(tmp_path_factory.mktemp("secrets") / "inventory")
    (found.path / "group_vars/all").mkdir(parents=True)
    (found.path / "hosts.yml").write_text("all: {hosts: {one: {}, two: {}}}\n")
    passed(found.generate_secrets())
    return found


@pytest.fixture
def two_apps(tmp_path: Path) -> Inventory:
    """The example with two applications, without secrets."""
    shutil.copytree(PROJECT / "inventories/two-apps", tmp_path / "inventory")
    return inventory_at(tmp_path / "inventory")


def test_the_file_is_encrypted_and_for_its_owner_only(inventory: Inventory) -> None:
    assert inventory.vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert stat.S_IMODE(inventory.vault.stat().st_mode) == 0o600


def test_every_secret_is_there_and_none_twice(inventory: Inventory) -> None:
    secrets = inventory.secrets(inventory.vault)
    assert set(secrets) == SECRETS
    assert all(re.fullmatch("[A-Za-z0-9]{40}", value) for value in secrets.values())
    assert len(set(secrets.values())) == len(SECRETS)


def test_plays_read_the_values(inventory: Inventory) -> None:
    question = ("ansible", "-i", inventory.path, "one", "-m", "ansible.builtin.debug")
    said = passed(inventory.run(*question, "-a", "msg={{ vault_redis_password | length }}"))
    assert "msg: 40" in said or '"msg": "40"' in said


def test_a_second_run_changes_nothing(inventory: Inventory) -> None:
    before = inventory.vault.read_bytes()
    assert changes(passed(inventory.generate_secrets())) == 0
    assert inventory.vault.read_bytes() == before


def test_a_file_of_another_name_is_made_where_one_is_asked_for(inventory: Inventory, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.yml"
    option = ("-e", f"secrets_file={file}")
    passed(inventory.run("ansible-playbook", "-i", inventory.path, "playbooks/secrets.yml", *option))
    assert set(inventory.secrets(file)) == SECRETS


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    bare = inventory_at(tmp_path / "inventory")
    bare.path.mkdir()
    (bare.path / "hosts.yml").write_text("all: {hosts: {one: {}}}\n")
    assert f"{bare.vault} cannot be written" in refused(bare.generate_secrets())


def test_applications_share_the_password_of_redis_and_nothing_else(two_apps: Inventory) -> None:
    assert changes(passed(two_apps.generate_secrets())) == 3
    assert set(two_apps.secrets(two_apps.vault)) == {"vault_redis_password"}
    found = [two_apps.secrets(two_apps.path / f"group_vars/{app}/vault.yml") for app in ("shop", "blog")]
    assert [set(secrets) for secrets in found] == [OWN, OWN]
    assert len({value for secrets in found for value in secrets.values()}) == 2 * len(OWN)
    assert changes(passed(two_apps.generate_secrets())) == 0


def test_an_application_without_its_group_is_named(two_apps: Inventory) -> None:
    hosts = two_apps.load("hosts.yml")
    del hosts["all"]["children"]["blog"]
    hosts["all"]["hosts"]["blog1"]["app_name"] = "news-blog"
    (two_apps.path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    assert "no group news_blog." in refused(two_apps.generate_secrets())
    assert not two_apps.vault.exists()


def test_secrets_that_an_application_has_already_are_never_replaced(two_apps: Inventory) -> None:
    (two_apps.path / "group_vars/all/vault.yml").write_text(
        yaml.safe_dump(dict.fromkeys(SECRETS, "of one application"))
    )
    message = refused(two_apps.generate_secrets())
    assert "The hosts of group shop have secrets already" in message
    assert not (two_apps.path / "group_vars/blog/vault.yml").exists()


def test_the_wiring_uses_no_secret_that_is_not_generated() -> None:
    wiring = (PROJECT / "playbooks/group_vars/all/wiring.yml").read_text()
    assert set(re.findall(r"\bvault_\w+", wiring)) == SECRETS
