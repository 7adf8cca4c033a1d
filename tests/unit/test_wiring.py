"""What playbooks/group_vars/all/wiring.yml makes of an inventory, worked out by Ansible."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from preflight_inventories import Draft, fleet, several_redis, with_edge
from repository import PROJECT, defaults, load


def worked_out(draft: Draft, directory: Path, *names: str) -> dict[str, dict[str, Any]]:
    """Return the values of variables, by host."""
    wanted = ", ".join(f"'{name}': {name}" for name in names)
    done = subprocess.run(
        [
            *(PROJECT / ".venv/bin/ansible", "all", "-i", draft.write(directory / "inventory")),
            *(
                "--playbook-dir",
                PROJECT / "playbooks",
                "-m",
                "debug",
                "-a",
                f"msg={{{{ {{{wanted}}} | to_json }}}}",
            ),
        ],
        cwd=PROJECT,
        env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": "json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    hosts = json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]
    return {host: json.loads(result["msg"]) for host, result in hosts.items()}


def test_redis_on_another_server_is_reached_over_tls(tmp_path: Path) -> None:
    found = worked_out(
        fleet(), tmp_path, "stack_broker_url", "stack_cache_url", "redis_tls_enabled", "redis_tls_names"
    )
    for host in ("web1", "work1"):
        assert found[host]["stack_broker_url"].startswith("rediss://shop-app:")
        for name in ("stack_broker_url", "stack_cache_url"):
            assert "@192.0.2.10:6379/" in found[host][name]
            assert found[host][name].endswith("?ssl_cert_reqs=required")
    assert {host: each["redis_tls_enabled"] for host, each in found.items()} == {
        "data": True,
        "web1": False,
        "web2": False,
        "work1": False,
    }
    assert found["data"]["redis_tls_names"] == ["192.0.2.10", "127.0.0.1", "localhost"]


def test_redis_that_no_other_server_uses_stays_as_it_is(tmp_path: Path) -> None:
    """The others have managed services, and only by their groups they look as if they used it."""
    elsewhere = "rediss://app:not-for-all@redis.example.net:6379"
    draft = fleet().with_(
        app_broker_url=f"{elsewhere}/1", app_result_url=f"{elsewhere}/2", app_cache_url=f"{elsewhere}/0"
    )
    found = worked_out(draft, tmp_path, "redis_tls_enabled")
    assert not any(each["redis_tls_enabled"] for each in found.values())


def test_postgresql_on_another_server_is_asked_for_its_certificate(tmp_path: Path) -> None:
    found = worked_out(
        fleet(),
        tmp_path,
        "django_app_environment",
        "firewall_service_ports",
        "postgresql_client_addresses",
        "postgresql_tls_names",
        "trust_certificates",
    )
    users = ["192.0.2.11", "192.0.2.12", "192.0.2.13"]
    assert found["data"]["postgresql_client_addresses"] == users
    assert {"port": 5432, "sources": users} in found["data"]["firewall_service_ports"]
    assert found["work1"]["postgresql_client_addresses"] == []
    environment = found["work1"]["django_app_environment"]
    assert environment["PGSSLMODE"] == "verify-full"
    assert environment["PGSSLROOTCERT"] == "/etc/ssl/certs/ca-certificates.crt"
    assert found["data"]["postgresql_tls_names"] == ["192.0.2.10", "127.0.0.1", "localhost"]
    # None has been read yet.
    assert found["work1"]["trust_certificates"] == {}


@pytest.mark.parametrize(
    ("query", "environment"),
    [
        ("", {}),
        ("?sslmode=disable", {}),
        ("?connect_timeout=5&sslmode=require", {"PGSSLMODE": "require"}),
        (
            "?sslmode=verify-full&connect_timeout=5",
            {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/etc/ssl/certs/ca-certificates.crt"},
        ),
        (
            "?sslmode=verify-ca&sslrootcert=%2Fetc/ssl/db.crt",
            {"PGSSLMODE": "verify-ca", "PGSSLROOTCERT": "/etc/ssl/db.crt"},
        ),
    ],
)
def test_a_managed_postgresql_is_asked_for_its_certificate_however_the_url_is_read(
    tmp_path: Path, query: str, environment: dict[str, str]
) -> None:
    """An application that drops the URL's options would take anybody's certificate, or none."""
    url = f"postgresql://shop:p%2Fw@db.example.net/shop{query}"
    (found,) = worked_out(Draft().with_(app_database_url=url), tmp_path, "django_app_environment").values()
    assert {k: v for k, v in found["django_app_environment"].items() if k.startswith("PG")} == environment


def test_an_application_reads_the_parts_of_its_database_and_its_directories_by_its_own_names(
    tmp_path: Path,
) -> None:
    draft = Draft().with_(
        app_database_environment={"host": "DB_HOST", "name": "DB_NAME", "password": "DB_PASSWORD"},
        app_environment_names={"STATIC_ROOT": "SHOP_STATIC", "MEDIA_ROOT": ["SHOP_MEDIA", "MEDIA_ROOT"]},
        app_environment={"DB_NAME": "another"},
        vault_postgresql_password="p/w%".ljust(20, "x"),
    )
    names = ("django_app_environment", "django_app_secret_environment")
    directories = ("django_app_static_root_names", "django_app_media_root_names")
    (found,) = worked_out(draft, tmp_path, *names, *directories).values()
    plain, secret = (found[name] for name in names)
    assert (plain["DB_HOST"], plain["DB_NAME"]) == ("127.0.0.1", "another")
    assert secret["DB_PASSWORD"] == "p/w%".ljust(20, "x")
    assert "DB_PASSWORD" not in plain
    assert "DB_HOST" not in secret
    assert [found[name] for name in directories] == [["SHOP_STATIC"], ["SHOP_MEDIA", "MEDIA_ROOT"]]


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("rediss://:p@redis.example.net/1?ssl_cert_reqs=required", True),
        ("rediss://:p@redis.example.net/1?ssl_ca_certs=/x&ssl_cert_reqs=CERT_REQUIRED", True),
        ("rediss://:p@redis.example.net/1?ssl_cert_reqs=none", False),
        ("rediss://:p@redis.example.net/1", False),
        ("redis://:p@redis.example.net/1?ssl_cert_reqs=required", False),
    ],
)
def test_the_audit_knows_what_a_url_asks_of_a_service(tmp_path: Path, url: str, verified: bool) -> None:
    names = ("celery_audit_broker", "celery_audit_results", "celery_audit_says_unseen")
    (found,) = worked_out(Draft().with_(app_broker_url=url), tmp_path, *names).values()
    assert (found["celery_audit_broker"]["managed"], found["celery_audit_broker"]["verified"]) == (
        True,
        verified,
    )
    assert (found["celery_audit_results"]["managed"], found["celery_audit_results"]["verified"]) == (
        False,
        False,
    )
    assert found["celery_audit_says_unseen"] is True


def test_what_a_service_does_not_tell_is_said_by_one_host_of_an_application(tmp_path: Path) -> None:
    found = worked_out(fleet(), tmp_path, "celery_audit_says_unseen")
    assert [host for host in ("web1", "web2", "work1") if found[host]["celery_audit_says_unseen"]] == ["web1"]


def test_redis_on_the_same_server_needs_none(tmp_path: Path) -> None:
    (found,) = worked_out(Draft(), tmp_path, "stack_broker_url", "redis_tls_enabled").values()
    assert found["stack_broker_url"].startswith("redis://shop-app:")
    assert found["stack_broker_url"].endswith("@127.0.0.1:6379/1")
    assert not found["redis_tls_enabled"]


def test_settings_of_celery_are_in_the_environment_where_there_are_any(tmp_path: Path) -> None:
    settings = {"task_acks_late": True, "broker_transport_options": {"visibility_timeout": 60}}
    given = Draft().with_(celery_settings=settings)
    found = worked_out(given, tmp_path / "given", "django_app_environment")["one"]["django_app_environment"]
    assert json.loads(found["ROOTSTOCK_CELERY_SETTINGS"]) == settings
    for name, draft in (("none", Draft()), ("empty", Draft().with_(celery_settings={}))):
        found = worked_out(draft, tmp_path / name, "django_app_environment")["one"]["django_app_environment"]
        assert "ROOTSTOCK_CELERY_SETTINGS" not in found


def test_of_several_redis_each_is_everybodys(tmp_path: Path) -> None:
    names = (
        "redis_sentinel_members",
        "redis_users",
        "redis_tls_enabled",
        "redis_proxy_members",
        "stack_redis_certificate_hosts",
        "firewall_service_ports",
        "stack_broker_url",
        "stack_cache_url",
        "trust_certificates",
        "supervisor_after_units",
        "celery_audit_broker",
    )
    found = worked_out(several_redis(), tmp_path, *names)
    members = {"data": "192.0.2.10", "data2": "192.0.2.14", "data3": "192.0.2.15"}
    programs = ["192.0.2.11", "192.0.2.12", "192.0.2.13"]
    for host, address in members.items():
        own = found[host]
        assert own["redis_sentinel_members"] == [{"name": n, "address": a} for n, a in members.items()]
        assert own["redis_tls_enabled"]
        assert [user["name"] for user in own["redis_users"]] == [
            f"shop-{purpose}" for purpose in ("app", "worker", "beat", "flower", "cache")
        ]
        others = [each for each in members.values() if each != address]
        ports = {each["port"]: each["sources"] for each in own["firewall_service_ports"]}
        assert ports[26379] == others
        assert ports[6379] == programs + others
    worker = found["work1"]
    for name in ("stack_broker_url", "stack_cache_url"):
        assert worker[name].startswith("redis://shop-")
        assert "@127.0.0.1:6390/" in worker[name]
        assert "ssl" not in worker[name]
    assert worker["celery_audit_broker"]["port"] in (6390, "6390")
    assert [each["address"] for each in worker["redis_proxy_members"]] == list(members.values())
    assert worker["stack_redis_certificate_hosts"] == list(members)
    assert worker["trust_certificates"] == {}
    assert worker["supervisor_after_units"] == ["redis-proxy.service"]


def test_an_edge_leads_to_the_web_servers_and_they_are_for_it_alone(tmp_path: Path) -> None:
    names = (
        "nginx_upstream_servers",
        "nginx_trusted_proxies",
        "nginx_static_dirs",
        "nginx_media_dir",
        "nginx_flower_enabled",
        "firewall_service_ports",
    )
    found = worked_out(with_edge().with_(app_trusted_proxies=["192.0.2.9"]), tmp_path, *names)
    edge, web, worker = found["edge1"], found["web2"], found["work1"]
    assert edge["nginx_upstream_servers"] == [
        {"name": "web1", "address": "192.0.2.11"},
        {"name": "web2", "address": "192.0.2.12"},
    ]
    assert (edge["nginx_trusted_proxies"], web["nginx_trusted_proxies"]) == (["192.0.2.9"], ["192.0.2.20"])
    assert (edge["nginx_static_dirs"], edge["nginx_media_dir"], edge["nginx_flower_enabled"]) == (
        [],
        "",
        True,
    )
    assert web["nginx_upstream_servers"] == []
    assert web["nginx_static_dirs"] == ["/srv/shop/current/.static", "/srv/shop/previous/.static"]
    assert edge["firewall_service_ports"] == [{"port": 80}, {"port": 443}]
    assert web["firewall_service_ports"] == [{"port": 443, "sources": ["192.0.2.20"]}]
    assert worker["firewall_service_ports"] == []


def test_without_an_edge_the_web_servers_are_everybodys(tmp_path: Path) -> None:
    names = ("nginx_upstream_servers", "nginx_trusted_proxies", "firewall_service_ports")
    web = worked_out(fleet().with_(app_trusted_proxies=["192.0.2.9"]), tmp_path, *names)["web2"]
    assert web["nginx_upstream_servers"] == []
    assert web["nginx_trusted_proxies"] == ["192.0.2.9"]
    assert web["firewall_service_ports"] == [{"port": 80}, {"port": 443}]


def test_the_connections_of_all_programs_are_counted(tmp_path: Path) -> None:
    """With what the roles' defaults are: a variable that is not set is not known here."""
    django, pool = (
        defaults("django_app"),
        load(PROJECT / "roles/celery/vars/main.yml")["__celery_pool_defaults"],
    )
    web = django["django_app_gunicorn_workers"] * django["django_app_gunicorn_threads"]
    url = "postgresql://shop:p@db.example.net/shop?sslmode=verify-full"
    pools = [{"name": "default", "queues": ["default"]}]
    draft = fleet().with_(app_database_url=url, celery_worker_pools=pools)
    found = worked_out(draft, tmp_path, "django_app_database_connections", "django_app_database_managed")
    # Two web hosts and one of workers; old and new ones at once.
    assert found["work1"] == {
        "django_app_database_connections": 2 * (2 * web + pool["concurrency"]),
        "django_app_database_managed": True,
    }
    more = draft.with_(
        django_app_gunicorn_threads=1,
        celery_worker_pools=[*pools, {"name": "critical", "queues": ["critical"], "concurrency": 5}],
    ).with_host("web2", app_database_url=f"{url}&another=1")
    found = worked_out(more, tmp_path / "more", "django_app_database_connections")
    assert found["work1"]["django_app_database_connections"] == 2 * (
        django["django_app_gunicorn_workers"] + pool["concurrency"] + 5
    )


def test_of_hosts_with_the_same_release_and_configuration_one_is_audited(tmp_path: Path) -> None:
    """Neither one whose generation stays, nor one for another that has a configuration of its own."""
    draft = fleet().with_(
        django_app_release_id="one",
        django_app_configuration_id="{{ 'own' if inventory_hostname == 'work1' else 'shared' }}",
        generation_is_live="{{ inventory_hostname in ['data', 'web1'] }}",
    )
    assert audited(draft, tmp_path) == {"web2": "web2", "work1": "work1"}


def test_servers_with_a_redis_each_are_audited_each(tmp_path: Path) -> None:
    """Their configuration is the same: it names the Redis of this host."""
    draft = fleet().with_groups(redis=["data", "web2"])
    draft = draft.with_(
        django_app_release_id="one",
        django_app_configuration_id="shared",
        generation_is_live="{{ inventory_hostname == 'data' }}",
    )
    assert audited(draft, tmp_path) == {"web1": "web1", "web2": "web2", "work1": "web1"}


def audited(draft: Draft, directory: Path) -> dict[str, str]:
    """Return, of each host whose generation changes, the one that is audited for it."""
    expression = "stack_audit_host if not generation_is_live else ''"
    found = worked_out(draft, directory, expression)
    return {host: value for host, each in found.items() for value in each.values() if value}
