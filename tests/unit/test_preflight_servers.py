"""What preflight says of a server when it has seen it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rootstock_preflight import report
from rootstock_preflight.problems import WAIVABLE, Problem
from rootstock_preflight.servers import problems_of_servers

from preflight_inventories import (
    host,
    inventory_of,
)
from preflight_tables import BAD_SERVERS, FACTS, POOL, POOL_DEFAULTS, VALUES_OF_SERVERS


def problems_of_one(facts: dict[str, Any], **values: Any) -> list[Problem]:
    """Return the problems of a server with these facts, on which everything runs with these variables."""
    return problems_of_servers(inventory_of([host(**values)]), {"one": facts}, POOL_DEFAULTS)


def test_the_defaults_fit_a_server_with_4_gib() -> None:
    assert problems_of_one(FACTS) == []
    assert (
        problems_of_one(FACTS, celery_worker_pools=[POOL, POOL | {"name": "b"}, POOL | {"name": "c"}]) == []
    )


@pytest.mark.parametrize(("rule", "variable", "bad"), BAD_SERVERS)
def test_a_server_that_cannot_carry_it_is_refused(rule: str, variable: str, bad: dict[str, Any]) -> None:
    values = VALUES_OF_SERVERS.get(variable, {})
    (found,) = problems_of_one(FACTS | bad, **values)
    assert (found.rule, found.variable, found.hosts) == (rule, variable, ("one",))
    assert found.says
    assert found.fix


@pytest.mark.parametrize(("rule", "variable", "bad"), BAD_SERVERS)
def test_a_rule_is_waived_by_its_name(rule: str, variable: str, bad: dict[str, Any]) -> None:
    values = VALUES_OF_SERVERS.get(variable, {})
    waived = problems_of_one(FACTS | bad, preflight_waived=[rule], **values)
    assert [problem.rule for problem in waived] == ([] if rule in WAIVABLE else [rule])
    assert waived or f"preflight_waived: [{rule}]" in problems_of_one(FACTS | bad, **values)[0].fix


@pytest.mark.parametrize(
    ("specifiers", "wanted", "says", "fix"),
    [
        ("==3.14.*", "", "the server's Python is 3.11.2 (Debian's)", 'django_app_python: "3.14"'),
        (">=3.11.4", "", "the server's Python is 3.11.2 (Debian's)", 'django_app_python: "3.12"'),
        ("==3.14.*", "3.13", "the server's Python is 3.13 (django_app_python)", 'django_app_python: "3.14"'),
        (">=3.11.4", "3.11", "", ""),
        ("==3.14.*", "3.14", "", ""),
        (">=3.11", "", "", ""),
    ],
)
def test_a_project_for_another_python_names_both(
    tmp_path: Path, specifiers: str, wanted: str, says: str, fix: str
) -> None:
    project = f"[project]\nname = 'shop'\nversion = '1'\nrequires-python = '{specifiers}'\n"
    (tmp_path / "pyproject.toml").write_text(project)
    found = problems_of_one(FACTS, app_source=str(tmp_path), django_app_python=wanted)
    assert [problem.rule for problem in found] == (["requires-python"] if says else [])
    for problem in found:
        assert problem.says == f"requires-python of the application is {specifiers}, and {says}."
        assert problem.fix == fix
    # Of other sources it is not known yet, and a data store runs no application.
    assert problems_of_one(FACTS, app_source="shop==1.0", django_app_python=wanted) == []
    store = host(groups=("redis",), app_source=str(tmp_path), django_app_python=wanted)
    assert problems_of_servers(inventory_of([store]), {"one": FACTS}, POOL_DEFAULTS) == []


def test_workers_that_drain_first_need_their_memory_once() -> None:
    small = FACTS | {"memory_kib": 3 << 20}
    assert [problem.rule for problem in problems_of_one(small)] == ["memory"]
    assert problems_of_one(small, generation_strategy="drain_first") == []


def test_what_redis_has_on_its_disk_already_needs_no_more_room() -> None:
    full = FACTS | {"disk_kib": {"/srv": 10 << 20, "/var/lib": 1 << 20}, "redis_kib": 1 << 20}
    full["memory_kib"] = 8 << 20
    assert problems_of_one(full, redis_maxmemory="1gb") == []


def test_the_redis_of_a_set_have_one_version() -> None:
    """A replica of 7.0 cannot read what a primary of 8.0 sends (tried)."""
    members = [host(name, ("redis",), redis_sentinel_enabled=True) for name in ("one", "two", "three")]
    facts = dict.fromkeys(("one", "two", "three"), FACTS) | {"three": FACTS | {"version": "13"}}
    (found,) = problems_of_servers(inventory_of(members), facts, POOL_DEFAULTS)
    assert (found.rule, found.hosts) == ("distribution", ("one", "two", "three"))
    assert "preflight_waived: [distribution]" in found.fix
    alone = [replace(member, values=member.values | {"redis_sentinel_enabled": False}) for member in members]
    assert problems_of_servers(inventory_of(alone), facts, POOL_DEFAULTS) == []


def test_two_hosts_on_a_server_share_its_memory_and_its_redis() -> None:
    pools = [POOL | {"concurrency": 5}]
    one, two = (
        replace(host(name, celery_worker_pools=pools), address="192.0.2.1") for name in ("one", "two")
    )
    facts = FACTS | {"memory_kib": 4 << 20}
    assert problems_of_servers(inventory_of([one]), {"one": facts}, POOL_DEFAULTS) == []
    (found,) = problems_of_servers(inventory_of([one, two]), {"one": facts, "two": facts}, POOL_DEFAULTS)
    assert found.hosts == ("one", "two")
    # 2 x 5 x 200000 KiB for each application, twice; Redis once.
    assert "workers 3906 MiB" in found.says
    assert "redis 320 MiB" in found.says


def test_all_servers_are_told_at_once_and_those_that_were_not_asked_are_left_out() -> None:
    old = FACTS | {"version": "11"}
    inventory = inventory_of([host("one"), host("two"), host("three")])
    found = problems_of_servers(inventory, {"one": old, "two": old}, POOL_DEFAULTS)
    assert [problem.hosts for problem in found] == [("one",), ("two",)]
    assert report.merged(found)[0].hosts == ("one", "two")
