"""Inventories with one mistake each, good ones, and servers that cannot carry theirs."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from preflight_inventories import (
    GROUPS,
    Draft,
    fleet,
    random_looking,
    secrets,
    several_redis,
    two_apps,
    with_edge,
)
from repository import PROJECT, load

Made = Callable[[Path], Draft]
POOL: dict[str, Any] = {"name": "default", "queues": ["default"]}
POOL_DEFAULTS = load(PROJECT / "roles/celery/vars/main.yml")["__celery_pool_defaults"]
MANAGED = {
    "app_database_url": "postgresql://shop:kept-to-myself@db.example.net/shop?sslmode=verify-full",
    "app_broker_url": "rediss://:kept-to-myself@redis.example.net/0?ssl_cert_reqs=required",
    "app_result_url": "rediss://:kept-to-myself@redis.example.net/1?ssl_cert_reqs=CERT_REQUIRED",
    "app_cache_url": "rediss://cache.example.net:6380/0",
}
# Over each of these somebody could read or change what goes to a service, with a password that stays secret.
UNSAFE_URLS = {
    "app_database_url": [
        "postgresql://shop:kept-to-myself@db.example.net/shop" + query
        for query in ("", "?sslmode=prefer", "?sslmode=disable", "?sslmode=require")
    ],
    "app_broker_url": [
        "redis://:kept-to-myself@redis.example.net/0?ssl_cert_reqs=required",
        "rediss://:kept-to-myself@redis.example.net/0",
        "rediss://:kept-to-myself@redis.example.net/0?ssl_cert_reqs=none",
    ],
    "app_result_url": ["rediss://:kept-to-myself@redis.example.net/1?ssl_cert_reqs=CERT_NONE"],
    "app_cache_url": ["redis://:kept-to-myself@10.0.0.7:6380/0", "rediss://10.0.0.7/0?ssl_cert_reqs=none"],
}
PREFERS = {"PGSSLMODE": "prefer"}


def single(**variables: Any) -> Made:
    """Return the good single server with other variables."""
    return lambda _: Draft().with_(**variables)


def managed(**variables: Any) -> Draft:
    """Return an application whose data stores are all managed, with other variables."""
    draft = Draft().with_(**MANAGED, vault_redis_password=None, vault_postgresql_password=None)
    return draft.with_groups(redis=[], postgresql=[]).with_(**variables)


def pool(**parts: Any) -> Made:
    """Return the good single server with one pool."""
    return single(celery_worker_pools=[POOL | parts])


def from_git(**variables: Any) -> Draft:
    """Return an application that comes from git."""
    return Draft().with_(
        **{"app_source": "git@git.example.net:shop.git", "app_source_ref": "v1.2"} | variables
    )


def certified(
    files: Path, days: float = 90, names: tuple[str, ...] = ("shop.example.net",), since: float = -1
) -> Draft:
    """Return the good single server with a certificate of its own for some days."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + datetime.timedelta(days=min(since, days - 1)))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (files / "site.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (files / "site.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return Draft().with_(nginx_tls_certificate=f"{files}/site.crt", nginx_tls_key=f"{files}/site.key")


def with_file(name: str, mode: int, variable: str, draft: Draft) -> Made:
    """Return an inventory with a variable that names a file of this mode."""

    def made(files: Path) -> Draft:
        (files / name).write_text("x\n")
        (files / name).chmod(mode)
        return draft.with_(**{variable: f"{files}/{name}"})

    return made


def without_name(draft: Draft) -> Draft:
    """Return an inventory whose edge has no application."""
    name = draft.everywhere["app_name"]
    draft = draft.with_(app_name=None)
    for host in ("data", "web1", "web2", "work1"):
        draft = draft.with_host(host, app_name=name)
    return draft


# Rule, variable, hosts (those that a message names), the mistake.
BAD: list[tuple[str, str, str, Made]] = [
    # Names.
    ("unknown-variable", "app_domian", "one", single(app_domain=None, app_domian="shop.example.net")),
    ("unknown-variable", "app_extra_domain", "one", single(app_extra_domain=["www.example.net"])),
    ("unknown-variable", "redis_maxmemroy", "one", single(redis_maxmemroy="512mb")),
    ("unknown-variable", "celery_worker_pool", "one", single(celery_worker_pool=[POOL])),
    ("unknown-variable", "preflight_waive", "one", single(preflight_waive=["memory"])),
    ("unknown-variable", "django_app_static_dir", "one", single(django_app_static_dir="staticfiles")),
    ("type", "django_app_collectstatic", "one", single(django_app_collectstatic="yes")),
    ("type", "django_app_trial_waived", "one", single(django_app_trial_waived=["debugging"])),
    (
        "unknown-variable",
        "vault_redis_pasword",
        "one",
        single(vault_redis_password=None, vault_redis_pasword="s" * 20),
    ),
    (
        "unknown-variable",
        "django_app_release_dir",
        "one",
        single(django_app_release_dir="/srv/shop/releases/x"),
    ),
    (
        "unknown-variable",
        "nginx_tls_certifcate",
        "one",
        lambda _: Draft().with_host("one", nginx_tls_certifcate="/x"),
    ),
    ("wired-variable", "redis_password", "one", single(redis_password="p" * 20)),
    ("wired-variable", "django_app_wsgi_module", "one", single(django_app_wsgi_module="shop.wsgi")),
    (
        "wired-variable",
        "celery_beat_enabled",
        "one",
        lambda _: Draft().with_host("one", celery_beat_enabled=True),
    ),
    ("wired-variable", "stack_broker_url", "one", single(stack_broker_url="redis://other/1")),
    ("wired-variable", "generation_drain_first", "one", single(generation_drain_first=True)),
    # Values by themselves.
    ("change-me", "app_domain", "one", single(app_domain="CHANGE_ME")),
    ("change-me", "app_environment", "one", single(app_environment={"CRM_URL": "https://CHANGE_ME/api"})),
    ("change-me", "vault_redis_password", "one", single(vault_redis_password="CHANGE_ME")),
    ("change-me", "ansible_host", "one", lambda _: Draft().with_host("one", ansible_host="CHANGE_ME")),
    ("template", "app_settings_module", "one", single(app_settings_module="{{ project }}.settings")),
    (
        "template",
        "app_secret_environment",
        "one",
        single(app_secret_environment={"A": "{{ vault_stripe_key }}"}),
    ),
    ("template", "redis_maxmemory", "one", single(redis_maxmemory="{{ 256 + }}mb")),
    ("type", "app_extra_domains", "one", single(app_extra_domains="www.example.net")),
    ("type", "app_migrate", "one", single(app_migrate="no")),
    ("type", "redis_port", "one", single(redis_port="default")),
    ("type", "app_domain", "one", single(app_domain=["shop.example.net"])),
    ("type", "app_environment", "one", single(app_environment=["A=b"])),
    ("type", "vault_redis_password", "one", single(vault_redis_password=12345678901234567890)),
    ("type", "generation_strategy", "one", single(generation_strategy="drain-first")),
    ("type", "redis_appendfsync", "one", single(redis_appendfsync="no")),
    ("type", "preflight_waived", "one", single(preflight_waived=["ram"])),
    ("type", "celery_worker_pools", "one", pool(concurency=4)),
    ("type", "celery_worker_pools", "one", pool(concurrency="many")),
    ("type", "celery_worker_pools", "one", pool(log_level="debug")),
    ("type", "celery_worker_pools", "one", single(celery_worker_pools=[{"name": "default"}])),
    ("type", "app_environment_names", "one", single(app_environment_names={"SECRETKEY": "DJANGO_KEY"})),
    ("type", "app_redis_databases", "one", single(app_redis_databases={"queue": 3})),
    ("type", "app_extra_programs", "one", single(app_extra_programs=[{"name": "sms"}])),
    # Groups.
    *[
        ("groups", f"group {group}", "", lambda _, g=group: Draft().with_groups(**{g: None}))
        for group in GROUPS
    ],
    ("groups", "group workers", "", lambda _: Draft().with_groups(workers=[])),
    (
        "groups",
        "group redis",
        "",
        lambda _: managed(app_cache_url=None, vault_redis_password=random_looking("r")),
    ),
    # The application.
    *[
        ("required", name, "one", single(**{name: ""}))
        for name in ("app_name", "app_domain", "app_source", "app_settings_module", "app_celery_application")
    ],
    ("app-name", "app_name", "one", single(app_name="Shop")),
    ("app-name", "app_name", "one", single(app_name="shop_app")),
    ("interface", "app_wsgi_module", "one", single(app_wsgi_module=None)),
    ("interface", "app_asgi_module", "one", single(app_asgi_module="shop.asgi")),
    ("source", "app_source", "one", single(app_source="../sample_app")),
    ("source", "app_source", "one", single(app_source="/nonexistent/shop")),
    ("source", "app_source", "one", single(app_source=str(PROJECT / "README.md"))),
    ("source", "app_source", "one", single(app_source="shop>=1.2")),
    ("source-options", "app_source_ref", "one", lambda _: from_git(app_source_ref=None)),
    ("source-options", "app_source_ref", "one", single(app_source_ref="main")),
    (
        "source-options",
        "app_source_key",
        "one",
        single(app_source="shop==1.2", app_source_key="/nonexistent"),
    ),
    ("source-key", "app_source_key", "one", lambda _: from_git(app_source_key="/nonexistent/key")),
    ("source-key", "app_source_key", "one", with_file("key", 0o644, "app_source_key", from_git())),
    ("domain", "app_domain", "one", single(app_domain="https://shop.example.net")),
    ("domain", "app_domain", "one", single(app_domain="*.example.net")),
    ("domain", "app_extra_domains", "one", single(app_extra_domains=["www.example.net", "Shop.example.net"])),
    ("hook", "app_hook_after_switch", "one", single(app_hook_after_switch="/nonexistent/hook.yml")),
    ("hook", "app_hook_before_migrate", "one", single(app_hook_before_migrate="hooks/before.yml")),
    ("environment-names", "app_environment_names", "one", single(app_environment_names={"CACHE_URL": "A-B"})),
    ("environment-names", "app_environment_names", "one", single(app_environment_names={"CACHE_URL": []})),
    (
        "environment-names",
        "app_environment_names",
        "one",
        single(app_environment_names={"SECRET_KEY": "KEY", "DATABASE_URL": ["DATABASE", "KEY"]}),
    ),
    (
        "environment-names",
        "app_environment_names",
        "one",
        single(app_environment_names={"SECRET_KEY": "DATABASE_URL"}),
    ),
    ("environment-names", "app_database_environment", "one", single(app_database_environment={"host": ""})),
    (
        "environment-names",
        "app_database_environment",
        "one",
        single(app_database_environment={"host": "DB", "name": "DB"}),
    ),
    (
        "environment-names",
        "app_database_environment",
        "one",
        single(app_database_environment={"password": "SECRET_KEY"}),
    ),
    ("type", "app_database_environment", "one", single(app_database_environment={"hots": "DB_HOST"})),
    (
        "cache-name",
        "app_environment_names",
        "one",
        single(app_environment_names={"CACHE_URL": "REDIS", "CELERY_BROKER_URL": ["BROKER", "REDIS"]}),
    ),
    (
        "cache-name",
        "app_environment_names",
        "one",
        single(app_environment_names={"CACHE_URL": "CELERY_BROKER_URL"}),
    ),
    # Secrets.
    *[("secret-missing", name, "one", single(**{name: None})) for name in secrets("shop")],
    ("secret-missing", "vault_redis_password", "data", lambda _: fleet_without_password()),
    ("secret-example", "vault_flower_password", "one", single(vault_flower_password="change-me-please-soon")),
    (
        "secret-example",
        "vault_django_secret_key",
        "one",
        single(vault_django_secret_key="<your secret key here>"),
    ),
    ("secret-length", "vault_postgresql_password", "one", single(vault_postgresql_password="k3sN8-pq")),
    (
        "secret-repeated",
        "vault_redis_password",
        "one",
        single(vault_redis_password=secrets("shop")["vault_postgresql_password"]),
    ),
    (
        "secret-shared",
        "vault_django_secret_key",
        "blog shop",
        lambda _: two_apps().with_host(
            "blog", vault_django_secret_key=secrets("shop")["vault_django_secret_key"]
        ),
    ),
    (
        "secret-shared",
        "vault_postgresql_password",
        "blog shop",
        lambda _: two_apps().with_host(
            "blog", vault_postgresql_password=secrets("shop")["vault_postgresql_password"]
        ),
    ),
    (
        "redis-password",
        "vault_redis_password",
        "blog shop",
        lambda _: two_apps().with_host("blog", vault_redis_password=random_looking("other")),
    ),
    # Who uses what.
    ("beat", "group beat", "web1 work1", lambda _: fleet().with_groups(beat=["web1", "work1"])),
    (
        "beat",
        "group beat",
        "blog",
        lambda _: two_apps().with_groups(beat=["shop"]),
    ),
    ("redis-databases", "app_redis_databases", "one", single(app_redis_databases={"results": 16})),
    ("redis-databases", "app_redis_databases", "one", single(app_redis_databases={"results": 1})),
    ("redis-users", "app_redis_key_prefix", "one", single(app_redis_key_prefix="shop *")),
    ("redis-users", "app_redis_rules", "one", single(app_redis_rules=["hgetall"])),
    ("redis-users", "app_redis_rules", "one", single(app_redis_rules=["~locks:*"])),
    (
        "redis-databases",
        "app_redis_databases",
        "blog shop",
        lambda _: two_apps().with_host("blog", app_redis_databases=None),
    ),
    (
        "managed-url",
        "app_database_url",
        "one",
        lambda _: managed(app_database_url="mysql://db.example.net/shop"),
    ),
    ("managed-url", "app_broker_url", "one", lambda _: managed(app_broker_url="redis.example.net:6379/0")),
    (
        "managed-url",
        "app_cache_url",
        "one",
        lambda _: managed(app_cache_url="redis://cache.example.net:port/0"),
    ),
    (
        "managed-databases",
        "app_cache_url",
        "one",
        lambda _: managed(app_cache_url="rediss://redis.example.net:6379"),
    ),
    (
        "managed-tls",
        "app_result_url",
        "one",
        lambda _: managed(app_result_url="rediss://redis.example.net/1"),
    ),
    *[
        ("managed-encryption", variable, "one", single(**MANAGED | {variable: url}))
        for variable, urls in UNSAFE_URLS.items()
        for url in urls
    ],
    (
        "managed-encryption",
        "app_database_url",
        "one",
        lambda _: managed(app_database_url=UNSAFE_URLS["app_database_url"][0], app_environment=PREFERS),
    ),
    ("redis-reachable", "redis_bind_addresses", "data", lambda _: fleet().with_(redis_bind_addresses=None)),
    (
        "postgresql-reachable",
        "postgresql_listen_addresses",
        "data",
        lambda _: fleet().with_(postgresql_listen_addresses=["::1", "127.0.0.1"]),
    ),
    (
        "redis-set",
        "redis_sentinel_enabled",
        "data data2 web1 web2 work1",
        lambda _: several_redis().with_groups(redis=["data", "data2"]),
    ),
    (
        "redis-set",
        "redis_sentinel_enabled",
        "data data2 data3",
        lambda _: several_redis().with_host("data3", ansible_host="192.0.2.14"),
    ),
    (
        "redis-set",
        "redis_sentinel_enabled",
        "data data2 data3 web1 web2 work1",
        lambda _: several_redis().with_host("web2", redis_sentinel_enabled=False),
    ),
    (
        "edge",
        "app_name",
        "edge1",
        lambda _: with_edge().with_groups(flower=[]).with_host("edge1", app_name="shp"),
    ),
    ("edge", "app_name", "edge1", lambda _: without_name(with_edge().with_groups(flower=[]))),
    ("edge", "app_domain", "edge1", lambda _: with_edge().with_(app_domain="192.0.2.20")),
    ("edge", "ansible_host", "web1", lambda _: with_edge().with_groups(edge=["web1"], flower=["web1"])),
    (
        "edge",
        "ansible_host",
        "edge1 web1 web2",
        lambda _: with_edge().with_groups(flower=[]).with_host("edge1", ansible_host="edge1.example.net"),
    ),
    ("edge", "group flower", "web1", lambda _: with_edge().with_groups(flower=["web1"])),
    ("edge", "nginx_acme_enabled", "web1 web2", lambda _: with_edge().with_(nginx_acme_enabled=True)),
    ("trusted-proxies", "app_trusted_proxies", "one", single(app_trusted_proxies=["lb.example.net"])),
    ("trusted-proxies", "app_trusted_proxies", "one", single(app_trusted_proxies=["192.0.2.9/24"])),
    (
        "redis-reachable",
        "redis_bind_addresses",
        "data data2 data3",
        lambda _: several_redis().with_(redis_bind_addresses=None),
    ),
    (
        "redis-set",
        "ansible_host",
        "data data2 data3 web1 web2 work1",
        lambda _: several_redis().with_host(
            "data3", ansible_host="data3.example.net", redis_bind_addresses=["127.0.0.1", "192.0.2.15"]
        ),
    ),
    (
        "redis",
        "redis_cache_enabled",
        "data data2 data3",
        lambda _: several_redis().with_(redis_cache_enabled=True),
    ),
    ("ports", "redis_proxy_port", "web1", lambda _: several_redis().with_(flower_port=6390)),
    ("redis_proxy", "redis_proxy_port", "one", single(redis_proxy_port=70000)),
    ("acme", "nginx_acme_enabled", "web1 web2", lambda _: fleet().with_(nginx_acme_enabled=True)),
    (
        "client-addresses",
        "ansible_host",
        "data work1",
        lambda _: fleet().with_host("work1", ansible_host="worker1.example.net"),
    ),
    (
        "client-addresses",
        "ansible_host",
        "data work1",
        # PostgreSQL alone needs them, too.
        lambda _: (
            fleet().with_(firewall_enabled=False).with_host("work1", ansible_host="worker1.example.net")
        ),
    ),
    (
        "client-settings",
        "redis_port",
        "data web1 web2 work1",
        lambda _: fleet().with_host("data", redis_port=6390),
    ),
    # What hosts share.
    ("ports", "flower_port", "blog shop", lambda _: two_apps().with_host("blog", flower_port=None)),
    ("ports", "postgresql_port", "one", single(postgresql_port=6379)),
    ("ports", "redis_cache_port", "one", single(redis_cache_enabled=True, redis_cache_port=6379)),
    ("ports", "flower_port", "one", single(flower_port=443)),
    (
        "server-wide",
        "redis_maxmemory",
        "blog shop",
        lambda _: two_apps().with_host("shop", redis_maxmemory="1gb"),
    ),
    (
        "server-wide",
        "nginx_hsts_seconds",
        "blog shop",
        lambda _: two_apps().with_host("blog", nginx_hsts_seconds=0),
    ),
    (
        "server-wide",
        "firewall_open_ports",
        "blog shop",
        lambda _: two_apps().with_host("blog", firewall_open_ports=[{"port": 9100}]),
    ),
    (
        "app-once",
        "app_name",
        "one two",
        lambda _: (
            Draft()
            .with_host("two", ansible_host="192.0.2.1", flower_port=5556)
            .with_groups(workers=["two"], web=["one", "two"])
        ),
    ),
    ("app-prefix", "app_name", "blog", lambda _: two_apps().with_host("blog", app_name="shop-blog")),
    (
        "domain-once",
        "app_extra_domains",
        "blog",
        lambda _: two_apps().with_host("blog", app_extra_domains=["shop.example.net"]),
    ),
    # Certificates.
    ("certificate", "nginx_tls_certificate", "one", lambda files: certified(files, days=-1)),
    ("certificate", "nginx_tls_certificate", "one", lambda files: certified(files, days=0.9)),
    ("certificate", "nginx_tls_certificate", "one", lambda files: certified(files, since=1)),
    (
        "certificate",
        "nginx_tls_certificate",
        "one",
        lambda files: certified(files, names=("www.example.net",)),
    ),
    (
        "certificate",
        "nginx_tls_certificate",
        "one",
        lambda files: certified(files).with_(app_extra_domains=["www.example.net"]),
    ),
    (
        "certificate",
        "nginx_tls_certificate",
        "one",
        lambda files: certified(files).with_(nginx_tls_certificate=str(PROJECT / "README.md")),
    ),
    # In the roles' own words.
    ("firewall", "firewall_ssh_ports", "one", single(firewall_ssh_ports=[])),
    ("firewall", "firewall_open_ports", "one", single(firewall_open_ports=[{"port": 0}])),
    (
        "firewall",
        "firewall_open_ports",
        "one",
        single(firewall_open_ports=[{"port": 9100, "sources": ["monitor.example.net"]}]),
    ),
    ("firewall", "firewall_confirm_seconds", "one", single(firewall_confirm_seconds=5)),
    ("redis", "redis_bind_addresses", "one", single(redis_bind_addresses=["localhost"])),
    ("redis", "redis_maxmemory", "one", single(redis_maxmemory="256m")),
    ("postgresql", "postgresql_max_connections", "one", single(postgresql_max_connections=5)),
    ("postgresql", "postgresql_shared_buffers", "one", single(postgresql_shared_buffers="128mb")),
    ("postgresql", "postgresql_allowed_networks", "one", single(postgresql_allowed_networks=["10.0.0.7"])),
    ("django_app", "app_settings_module", "one", single(app_settings_module="shop/settings.py")),
    ("type", "django_app_python", "one", single(django_app_python="3.10")),
    ("type", "django_app_python", "one", single(django_app_python=3.13)),
    ("type", "app_files", "one", single(app_files=[{"content": "a"}])),
    *[
        ("files", "app_files", "one", single(app_files=[{"path": "a", "content": "b"} | file]))
        for file in (
            {"path": "/etc/shop.ini"},
            {"path": "../shop.ini"},
            {"path": "a/../b"},
            {"path": ""},
            {"path": ".venv/bin/python"},
            {"path": "rootstock_settings.py"},
            {"template": "shop.ini.j2"},
            {"secret": True, "mode": "0644"},
        )
    ],
    ("files", "app_files", "one", single(app_files=[{"path": "a"}])),
    ("files", "app_files", "one", single(app_files=[{"path": "a", "template": "shop.ini.j2"}])),
    ("files", "app_files", "one", single(app_files=[{"path": "a", "template": "/nowhere/shop.ini.j2"}])),
    ("files", "app_files", "one", single(app_files=[{"path": "a", "content": "b"}] * 2)),
    (
        "files",
        "app_files",
        "one",
        single(app_files=[{"path": "a", "content": "b"}, {"path": "a/b", "content": "b"}]),
    ),
    ("settings-overlay", "app_settings_overlay", "one", single(app_settings_overlay="DEBUG = = 1")),
    *[
        ("build-commands", "django_app_build_commands", "one", single(django_app_build_commands=[command]))
        for command in ("", "a\nb")
    ],
    ("django_app", "app_environment", "one", single(app_environment={"A B": "c"})),
    ("django_app", "django_app_readiness_path", "one", single(django_app_readiness_path="readyz")),
    ("smoke-paths", "django_app_smoke_paths", "one", single(django_app_smoke_paths=["/", "shop"])),
    *(
        ("celery-settings", "celery_settings", "one", single(celery_settings=settings))
        for settings in (
            {"broker_url": "redis://redis.example.net/0"},
            {"CELERY_RESULT_BACKEND": "redis://redis.example.net/1"},
            {"worker_concurrency": 4},
            {"task_always_eager": True},
            {"task_routes": {"a.*": "default"}, "broker_transport_options": {"password": "kept-to-myself"}},
            {"broker_failover": [{"at": "redis://:kept-to-myself@redis.example.net/0"}]},
        )
    ),
    (
        "django_app",
        "app_extra_programs",
        "one",
        single(app_extra_programs=[{"name": "web", "command": "true"}]),
    ),
    *[
        ("timers", "app_timers", "one", single(app_timers=timers))
        for timers in (
            [{"name": "a", "command": "x", "schedule": "daily"}] * 2,
            [{"name": "A b", "command": "x", "schedule": "daily"}],
            [{"name": "a", "command": "manage.py x", "schedule": "daily"}],
            [{"name": "a", "command": "x", "schedule": "daily", "time_limit": 0}],
        )
    ],
    ("type", "app_timers", "one", single(app_timers=[{"name": "a", "command": "x"}])),
    ("celery", "celery_worker_pools", "one", pool(drain=700)),
    ("celery", "celery_worker_pools", "one", pool(queues=[])),
    ("celery", "celery_worker_pools", "one", pool(time_limit=7200)),
    ("celery", "celery_worker_pools", "one", single(celery_worker_pools=[])),
    ("celery", "celery_worker_pools", "one", single(celery_worker_pools=[POOL, POOL])),
    ("flower", "flower_url_prefix", "one", single(flower_url_prefix="admin/flower")),
    ("nginx", "vault_flower_password", "one", single(vault_flower_password="has a blank, and is long")),
    ("nginx", "nginx_client_max_body_size", "one", single(nginx_client_max_body_size="10 MB")),
    ("nginx", "nginx_login_paths", "one", single(nginx_login_paths=["accounts/login/"])),
    ("nginx", "nginx_login_tries_per_minute", "one", single(nginx_login_tries_per_minute=0)),
    ("nginx", "nginx_tls_key", "one", lambda files: certified(files).with_(nginx_tls_key="/nonexistent/key")),
    ("nginx", "nginx_tls_certificate", "one", lambda files: certified(files).with_(nginx_tls_key=None)),
    ("nginx", "nginx_acme_enabled", "one", lambda files: certified(files).with_(nginx_acme_enabled=True)),
    (
        "nginx",
        "app_domain",
        "one",
        single(nginx_acme_enabled=True, app_extra_domains=["*.shop.example.org"]),
    ),
]


def fleet_without_password() -> Draft:
    """Return a fleet whose data host has no password for its Redis, while the others have."""
    draft = fleet().with_(vault_redis_password=None)
    for name in ("web1", "web2", "work1"):
        draft = draft.with_host(name, vault_redis_password=random_looking("redis"))
    return draft


GOOD: dict[str, Made] = {
    "settings of Celery": single(
        celery_settings={
            "task_acks_late": True,
            "task_routes": {"shop.tasks.*": {"queue": "default", "routing_key": "token.#"}},
            "broker_transport_options": {"visibility_timeout": 3600, "global_keyprefix": "shop:"},
        }
    ),
    "single": single(),
    "fleet": lambda _: fleet(),
    "several Redis": lambda _: several_redis(),
    "edge": lambda _: with_edge(),
    "balancer": single(app_trusted_proxies=["192.0.2.9", "2001:db8::/64"]),
    "two apps on one server": lambda _: two_apps(),
    "managed data stores": lambda _: managed(),
    "managed data stores without TLS, on purpose": lambda _: managed(
        **{variable: urls[0] for variable, urls in UNSAFE_URLS.items()},
        preflight_waived=["managed-encryption"],
    ),
    "managed data stores by tunnels": lambda _: managed(
        app_database_url="postgresql://shop:kept-to-myself@127.0.0.1:6432/shop",
        app_broker_url="redis://localhost:6390/0",
        app_result_url="redis://[::1]:6390/1",
        app_cache_url="redis://localhost:6391/0",
    ),
    "managed Redis by Sentinels": lambda _: managed(app_broker_url="sentinel://10.0.0.8:26379/0"),
    "managed PostgreSQL by the environment": lambda _: managed(
        app_database_url=UNSAFE_URLS["app_database_url"][0], app_environment={"PGSSLMODE": "verify-ca"}
    ),
    "managed PostgreSQL with its own authority": lambda _: managed(
        app_database_url=UNSAFE_URLS["app_database_url"][3] + "&sslrootcert=/etc/ssl/db.crt"
    ),
    "managed PostgreSQL only": lambda _: (
        Draft()
        .with_(app_database_url=MANAGED["app_database_url"], vault_postgresql_password=None)
        .with_groups(postgresql=[])
    ),
    "ASGI": single(app_wsgi_module=None, app_asgi_module="shop.asgi:app"),
    "git": lambda _: from_git(),
    "git with a key": with_file("key", 0o600, "app_source_key", from_git()),
    "git over https, part of a repository": lambda _: from_git(
        app_source="https://git.example.net/all.git", app_source_directory="shop"
    ),
    "package": single(app_source="shop-app[redis,s3]==1.2.3rc1"),
    "no Flower": lambda _: Draft().with_groups(flower=[]),
    "own certificate": lambda files: certified(files, names=("shop.example.net",)),
    "wildcard certificate": lambda files: certified(files, names=("*.example.net", "example.net")).with_(
        app_extra_domains=["www.example.net", "example.net"]
    ),
    "parts of the database's address": single(
        app_database_environment={"host": ["DB_HOST", "PGHOST"], "password": "DB_PASSWORD"}
    ),
    "the cache by the name that the settings read for Celery as well": single(
        app_environment_names={"CACHE_URL": "REDIS_URL", "STATIC_ROOT": "SHOP_STATIC"}
    ),
    "mapped names": single(
        app_environment_names={
            "CELERY_BROKER_URL": ["BROKER_URL", "REDIS_URL"],
            "SECRET_KEY": "DJANGO_SECRET_KEY",
        }
    ),
    "hook": with_file("hook.yml", 0o644, "app_hook_after_switch", Draft()),
    "two whole servers": lambda _: (
        Draft()
        .with_host("two", ansible_host="192.0.2.2")
        .with_groups(**{group: ["one", "two"] for group in GROUPS})
    ),
    "workers on a server of their own": lambda _: fleet().with_groups(
        workers=["work1", "data"], beat=["data"]
    ),
    "a host in no group": lambda _: Draft().with_host("two", ansible_host="192.0.2.2"),
    "a secret of the user's": single(
        vault_payment_key="p" * 20, app_secret_environment={"PAYMENT_KEY": "{{ vault_payment_key }}"}
    ),
    "a release of before": single(release_wanted="0123456789ab"),
    "numbers in digits": single(redis_port="6390"),
    "optional variables": single(
        app_environment={"A": "b"},
        app_migrate=False,
        app_trusted_origins=["https://shop.example.net:8443"],
        app_redis_databases={"cache": 5},
        celery_worker_pools=[POOL | {"concurrency": 4, "time_limit": 600, "soft_time_limit": 500}],
        preflight_waived=["memory"],
        redis_cache_enabled=True,
    ),
}


# Rule, the parts of the facts that are bad. The rest is what a common small server has.
FACTS: dict[str, Any] = {
    "memory_kib": 4028000,
    "disk_kib": {"/srv": 10 << 20, "/var/lib": 10 << 20},
    "redis_kib": 0,
    "id": "debian",
    "version": "12",
    "python": [3, 11, 2],
}
BAD_SERVERS: list[tuple[str, str, dict[str, Any]]] = [
    ("memory", "celery_worker_pools", {"memory_kib": 2 << 20}),
    ("disk", "disk", {"disk_kib": {"/srv": (1 << 20) - 1, "/var/lib": 10 << 20}}),
    (
        "disk",
        "redis_maxmemory",
        {"disk_kib": {"/srv": 10 << 20, "/var/lib": (1 << 20) + 1}, "memory_kib": 8 << 20},
    ),
    ("distribution", "distribution", {"version": "11"}),
    ("distribution", "distribution", {"id": "ubuntu", "version": "12"}),
    ("python", "python", {"python": [3, 8]}),
    ("requires-python", "django_app_python", {"python": [3, 9, 2]}),
]
# What a rule about servers looks at beside them.
VALUES_OF_SERVERS: dict[str, dict[str, Any]] = {
    "redis_maxmemory": {"redis_maxmemory": "1gb"},
    "django_app_python": {"app_source": str(PROJECT / "tests/apps/pages")},
}
