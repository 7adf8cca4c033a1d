"""playbooks/preflight.yml refuses bad inventories before any host is touched, and says what is wrong."""

import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from repository import PROJECT

GROUPS = ("redis", "postgresql", "web", "workers", "beat", "flower")
SECRETS = (
    "django_secret_key",
    "flower_internal_password",
    "flower_password",
    "postgresql_password",
    "redis_password",
)
# 192.0.2.0/24 is for documentation: a task that tried to connect would fail.
GOOD: dict[str, Any] = {
    "all": {
        "hosts": {"one": {"ansible_host": "192.0.2.1"}, "two": {"ansible_host": "192.0.2.2"}},
        "children": {group: {"hosts": {"one": {}}} for group in GROUPS},
        "vars": {
            "app_name": "shop",
            "app_domain": "shop.example",
            "app_source": "sample_app",
            "app_settings_module": "shop.settings",
            "app_wsgi_module": "shop.wsgi",
            "app_celery_application": "shop",
            **{f"vault_{name}": "x" for name in SECRETS},
        },
    }
}


def play(inventory: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [PROJECT / ".venv/bin/ansible-playbook", "-i", inventory]
    return subprocess.run(
        [*command, "playbooks/preflight.yml"], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def run(inventory: dict[str, Any], directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    return play(directory / "hosts.yml")


def refusal(inventory: dict[str, Any], directory: Path) -> str:
    """Return the message of a refused inventory on one line, as if the terminal were wide."""
    done = run(inventory, directory)
    assert done.returncode == 2, done.stdout + done.stderr
    return re.sub(r"\s+", " ", done.stdout)


def changed(**variables: Any) -> dict[str, Any]:
    """Return the good inventory with other variables; None removes one."""
    inventory = deepcopy(GOOD)
    inventory["all"]["vars"] = {k: v for k, v in (GOOD["all"]["vars"] | variables).items() if v is not None}
    return inventory


def regrouped(**groups: list[str] | None) -> dict[str, Any]:
    """Return the good inventory with other hosts in groups; None removes a group."""
    inventory = deepcopy(GOOD)
    children = inventory["all"]["children"]
    for group, hosts in groups.items():
        if hosts is None:
            del children[group]
        else:
            children[group] = {"hosts": {host: {} for host in hosts}}
    return inventory


@pytest.mark.parametrize(
    "inventory",
    [
        GOOD,
        regrouped(flower=[]),
        regrouped(
            **{group: ["one", "two"] for group in GROUPS}
        ),  # two whole servers, each with its own Redis
        regrouped(workers=["two"], web=["one", "two"]),
        changed(
            app_environment={"A": "b"},
            app_hook_after_switch=str(PROJECT / "playbooks/deploy.yml"),
            app_migrate=False,
            app_trusted_origins=["https://shop.example:8443"],
        ),
    ],
    ids=["single", "no Flower", "two servers", "fleet", "optional variables"],
)
def test_good_inventories_pass(inventory: dict[str, Any], tmp_path: Path) -> None:
    done = run(inventory, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["demo", "single"])
def test_the_inventories_pass_once_they_have_secrets(name: str, tmp_path: Path) -> None:
    inventory = tmp_path / name
    shutil.copytree(PROJECT / "inventories" / name, inventory, ignore=shutil.ignore_patterns("vault.yml"))
    (inventory / "group_vars/all/secrets.yml").write_text(
        yaml.safe_dump({f"vault_{secret}": "x" for secret in SECRETS})
    )
    done = play(inventory)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_missing_or_empty_group_is_named(tmp_path: Path) -> None:
    message = refusal(
        regrouped(redis=None, postgresql=None, web=None, flower=None, workers=[], beat=[]), tmp_path
    )
    for group in ("redis", "postgresql", "web", "flower"):
        assert f"The inventory's group {group} is missing." in message
    for group in ("workers", "beat"):
        assert f"The inventory's group {group} is empty." in message


def test_an_unknown_name_is_named(tmp_path: Path) -> None:
    message = refusal(changed(app_domian="shop.example"), tmp_path)
    assert "Nothing reads app_domian." in message
    assert "app_domain" in message


def test_a_hook_that_is_not_there_is_refused(tmp_path: Path) -> None:
    message = refusal(changed(app_hook_before_migrate=str(tmp_path / "none.yml")), tmp_path)
    assert f"app_hook_before_migrate is {tmp_path}/none.yml: it must be the absolute path" in message


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_or_empty_description_of_the_app_is_named(value: str | None, tmp_path: Path) -> None:
    assert "app_wsgi_module is not set." in refusal(changed(app_wsgi_module=value), tmp_path)


def test_all_missing_secrets_are_named_with_the_way_to_make_them(tmp_path: Path) -> None:
    message = refusal(changed(vault_redis_password=None, vault_flower_password=""), tmp_path)
    assert "The secret vault_redis_password is not set." in message
    assert "The secret vault_flower_password is not set." in message
    assert f"make secrets INVENTORY={tmp_path.name}" in message


def test_two_beats_on_one_redis_are_refused(tmp_path: Path) -> None:
    assert "Exactly one beat" in refusal(regrouped(beat=["one", "two"]), tmp_path)


def test_a_redis_without_a_beat_is_refused(tmp_path: Path) -> None:
    both = ["one", "two"]
    assert "Exactly one beat" in refusal(
        regrouped(redis=both, web=both, workers=both, beat=["one"]), tmp_path
    )


def test_the_known_names_are_those_that_wiring_and_release_read() -> None:
    play = yaml.safe_load((PROJECT / "playbooks/preflight.yml").read_text())[0]["vars"]
    wiring = (PROJECT / "playbooks/group_vars/all/wiring.yml").read_text()
    release = (PROJECT / "playbooks/release.yml").read_text()
    assert set(play["__preflight_required"] + play["__preflight_optional"]) == set(
        re.findall(r"(?<![\w])app_\w+", wiring + release)
    )
    assert set(play["__preflight_secrets"]) == set(re.findall(r"\bvault_\w+", wiring))


def test_a_pool_that_would_lose_tasks_is_refused(tmp_path: Path) -> None:
    pools = [{"name": "critical", "queues": ["critical"], "drain": 700, "stopwaitsecs": 600}]
    message = refusal(changed(celery_worker_pools=pools), tmp_path)
    assert "critical" in message
    assert "drain" in message
    assert "stopwaitsecs" in message
