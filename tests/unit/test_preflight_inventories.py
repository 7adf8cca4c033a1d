"""Inventories with one mistake each, and what preflight says; good ones, of which it says nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rootstock_preflight.problems import RULES

from preflight_inventories import (
    GROUPS,
    Draft,
    fleet,
    problems,
    secrets,
)
from preflight_tables import BAD, BAD_SERVERS, GOOD, POOL, Made, managed
from repository import PROJECT, load


def test_the_tables_are_long_enough_and_have_every_rule() -> None:
    assert len(BAD) >= 60
    assert len(GOOD) >= 10
    assert {rule for rule, *_ in BAD} | {rule for rule, *_ in BAD_SERVERS} == set(RULES)


@pytest.mark.parametrize(
    ("rule", "variable", "hosts", "made"), BAD, ids=[f"{rule}-{name}" for rule, name, *_ in BAD]
)
def test_one_mistake_is_one_problem(rule: str, variable: str, hosts: str, made: Made, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    found = problems(made(tmp_path / "files").write(tmp_path / "inventory"))
    assert [(each.rule, each.variable, " ".join(sorted(each.hosts))) for each in found] == [
        (rule, variable, hosts)
    ]
    assert found[0].says
    assert found[0].fix


@pytest.mark.parametrize("made", GOOD.values(), ids=GOOD)
def test_a_good_inventory_has_no_problem(made: Made, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    assert problems(made(tmp_path / "files").write(tmp_path / "inventory")) == []


def test_a_password_among_the_settings_of_celery_is_not_shown(tmp_path: Path) -> None:
    settings = {"redis_password": "kept-to-myself", "a": ["redis://:kept-to-myself@redis.example.net/0"]}
    draft = Draft().with_(celery_settings=settings)
    found = problems(draft.write(tmp_path / "inventory"))
    assert [each.says.partition(" ")[0] for each in found] == [
        "celery_settings.redis_password",
        "celery_settings.a[0]",
    ]
    assert "kept" not in str(found)
    assert all("app_secret_environment" in each.fix for each in found)


@pytest.mark.parametrize(
    ("url", "value"),
    [
        (
            "postgresql://shop:kept-to-myself@db.example.net:25060/shop",
            "postgresql://***@db.example.net:25060/shop",
        ),
        (
            "postgresql://shop@db.example.net/shop?password=kept-to-myself&sslmode=require",
            "postgresql://***@db.example.net/shop?sslmode=require",
        ),
        # Urllib takes 12 for the port of the host shop.
        ("postgresql://shop:12#kept-to-myself@db.example.net/shop", "(not shown)"),
    ],
)
def test_an_unsafe_way_to_a_service_is_shown_without_its_password(
    url: str, value: str, tmp_path: Path
) -> None:
    (found,) = problems(managed(app_database_url=url).write(tmp_path / "inventory"))
    assert (found.rule, found.value) == ("managed-encryption", value)
    assert "kept" not in str(found)
    assert "sslmode" in found.says
    assert "sslmode=verify-full" in found.fix
    assert "preflight_waived: [managed-encryption]" in found.fix


def test_three_mistakes_are_three_problems(tmp_path: Path) -> None:
    draft = (
        fleet()
        .with_(celery_worker_pools=[POOL | {"drain": 700}], app_domian="x")
        .with_host("web2", redis_port=1)
    )
    found = problems(draft.write(tmp_path / "inventory"))
    assert sorted((each.rule, each.variable) for each in found) == [
        ("celery", "celery_worker_pools"),
        ("client-settings", "redis_port"),
        ("unknown-variable", "app_domian"),
    ]


def test_a_role_refuses_only_the_one_of_two_like_hosts_that_is_wrong(tmp_path: Path) -> None:
    (found,) = problems(fleet().with_host("web2", app_environment={"A B": "c"}).write(tmp_path / "inventory"))
    assert (found.rule, found.hosts) == ("django_app", ("web2",))


def test_the_same_mistake_of_many_hosts_is_one_problem(tmp_path: Path) -> None:
    (found,) = problems(fleet().with_(app_domain="Shop.Example").write(tmp_path / "inventory"))
    assert sorted(found.hosts) == ["web1", "web2", "work1"]


def test_a_problem_says_where_its_value_stands(tmp_path: Path) -> None:
    draft = Draft().with_(redis_cache_enabled="on").with_host("one", app_migrate="yes")
    places = {each.variable: each.where for each in problems(draft.write(tmp_path / "inventory"))}
    lines = (tmp_path / "inventory/group_vars/all/main.yml").read_text().splitlines()
    number = 1 + next(i for i, line in enumerate(lines) if line.startswith("redis_cache_enabled"))
    assert places == {
        "redis_cache_enabled": f"group_vars/all/main.yml:{number}",
        "app_migrate": "host_vars/one.yml:2",
    }


def test_a_value_of_true_in_a_file_that_wins_is_said_to_stand_there(tmp_path: Path) -> None:
    # True and false know nothing of their file; their names do.
    draft = Draft().with_(app_domain=False).with_host("one", app_domain=True)
    (found,) = problems(draft.write(tmp_path / "inventory"))
    assert (found.value, found.where) == ("true", "host_vars/one.yml:2")


@pytest.mark.parametrize("name", ["demo", "single"])
def test_the_example_inventories_pass_once_they_have_secrets(name: str, tmp_path: Path) -> None:
    # As in the repository: an example looks for the sample application from where it is.
    inventory = tmp_path / "inventories" / name
    without = shutil.ignore_patterns("vault.yml")
    shutil.copytree(PROJECT / "inventories" / name, inventory, ignore=without)
    (tmp_path / "sample_app").symlink_to(PROJECT / "sample_app")
    (inventory / "group_vars/all/secrets.yml").write_text(yaml.safe_dump(secrets("shop")))
    assert problems(inventory) == []


@pytest.mark.parametrize("scenario", ["default", "release"])
def test_the_inventories_of_molecule_pass(scenario: str, tmp_path: Path) -> None:
    # As Molecule makes them: hosts from the platforms, the demo's variables, the scenario's own host_vars.
    base = load(PROJECT / ".config/molecule/config.yml")
    platforms = load(PROJECT / f"molecule/{scenario}/molecule.yml").get("platforms", base["platforms"])
    children: dict[str, Any] = {
        group: {"hosts": {each["name"]: {} for each in platforms}} for group in GROUPS
    }
    shutil.copytree(PROJECT / "inventories/demo/group_vars", tmp_path / "group_vars")
    (tmp_path / "group_vars/all/vault.yml").write_text(yaml.safe_dump(secrets("shop")))
    if (PROJECT / "molecule" / scenario / "host_vars").exists():
        shutil.copytree(PROJECT / "molecule" / scenario / "host_vars", tmp_path / "host_vars")
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": children}}))
    assert problems(tmp_path) == []
