"""A PostgreSQL that others run, looked at by the deployment's own script: what it refuses, what it says."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests import stack

SCRIPT = Path(os.environ["DATABASE_SCRIPT"])
PROGRAMS = max(Path("/usr/lib/postgresql").iterdir()) / "bin"
PASSWORD = "kept-to-myself"
CERTIFICATES = ("service", "other")
# An application that passes nothing of its URL on.
CARELESS = """
from shop.settings import *
DATABASES["default"]["OPTIONS"] = {options}
"""


def administer(*statements: str, database: str = "shop") -> None:
    with psycopg.connect(f"{server()}/{database}", autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def server(user: str = "shop", port: int = stack.POSTGRESQL_PORT) -> str:
    return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{port}"


def look(url: str, environment: dict[str, str] | None = None, **expected: object) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr, run as the role runs it: the script on stdin."""
    every = {"sslmode": "", "migrates": True, "connections": 0, "waived": []} | expected
    done = subprocess.run(
        [sys.executable, "-", json.dumps(every)],
        input=SCRIPT.read_text(),
        cwd=stack.SOURCE,
        env=os.environ | {"DATABASE_URL": url} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def roles(servers: None) -> Iterator[None]:
    """An empty database with an owner, and a role that may log in and nothing else."""
    administer("CREATE ROLE owner LOGIN", "CREATE ROLE guest LOGIN", "CREATE DATABASE managed OWNER owner")
    yield
    administer(
        "DROP DATABASE managed WITH (FORCE)", "DROP OWNED BY guest", "DROP ROLE guest", "DROP ROLE owner"
    )


@pytest.fixture
def owner(roles: None) -> str:
    return f"{server('owner')}/managed"


@pytest.fixture
def guest(roles: None) -> str:
    return f"{server('guest')}/managed"


@pytest.fixture(scope="module")
def authority(roles: None) -> Iterator[Path]:
    """The server has a certificate for its address, which is its own authority."""
    data = stack.HERE / "postgresql"
    for name in CERTIFICATES:
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", data / f"{name}.key", "-out", data / f"{name}.crt"]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *names],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    names = [
        f"ALTER SYSTEM SET ssl_{kind}_file = 'service.{end}'"
        for kind, end in {"cert": "crt", "key": "key"}.items()
    ]
    administer(*names, "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
    yield data / "service.crt"
    administer("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def test_a_database_of_its_own_passes_and_nothing_is_changed(owner: str) -> None:
    assert look(owner) == (0, "", "")
    with psycopg.connect(owner) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() == (0,)


def test_a_server_that_is_not_there_is_one_line(owner: str) -> None:
    status, stdout, stderr = look(f"{server('owner', stack.free_port())}/managed")
    (line,) = stderr.splitlines()
    assert (status, stdout) == (1, "")
    assert line.startswith("reachable: ")
    assert "Connection refused" in line
    assert line.endswith("; correct app_database_url, or let this host in")


def test_a_login_that_is_refused_is_one_line(owner: str) -> None:
    status, _, stderr = look(f"{server('nobody')}/managed")
    (line,) = stderr.splitlines()
    assert status == 1
    assert 'role "nobody" does not exist' in line


def test_a_role_that_may_not_create_tables_is_refused_if_there_is_something_to_migrate(guest: str) -> None:
    status, _, stderr = look(guest)
    (line,) = stderr.splitlines()
    assert status == 1
    assert line.startswith(
        "rights: the role guest may not create tables in the schema public, and migrations"
    )
    assert "GRANT USAGE, CREATE ON SCHEMA public TO guest" in line
    assert look(guest, migrates=False) == (0, "", "")
    assert look(guest, waived=["rights"]) == (0, "", "")
    administer("GRANT SELECT ON django_migrations TO guest")
    assert look(f"{server('guest')}/shop") == (0, "", "")


def test_a_role_without_a_schema_is_refused(guest: str) -> None:
    administer("ALTER ROLE guest SET search_path = gone")
    try:
        assert "may not create tables in any schema of its search_path" in look(guest)[2]
    finally:
        administer("ALTER ROLE guest RESET search_path")


def test_transactions_that_only_read_are_refused(owner: str) -> None:
    administer("ALTER ROLE owner SET default_transaction_read_only = on")
    try:
        status, _, stderr = look(owner)
    finally:
        administer("ALTER ROLE owner RESET default_transaction_read_only")
    assert status == 1
    assert stderr.startswith("writable: transactions only read: ")


def test_a_replica_is_refused(owner: str) -> None:
    data, port = stack.HERE / "replica", stack.free_port()
    copy = ["pg_basebackup", "-h", "127.0.0.1", "-p", str(stack.POSTGRESQL_PORT), "-U", "shop"]
    subprocess.run([PROGRAMS / copy[0], *copy[1:], "-D", data, "-R", "-c", "fast"], check=True)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": data,
        "max_connections": 200,
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    replica = stack.Process(
        "replica",
        [PROGRAMS / "postgres", "-D", data, *options],
        lambda _: (
            subprocess.run([PROGRAMS / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode
            == 0
        ),
    ).start()
    try:
        status, _, stderr = look(f"{server('owner', port)}/managed")
    finally:
        replica.stop(signal.SIGINT)
    assert status == 1
    assert (
        stderr
        == "writable: the server is a replica, which only reads: let app_database_url name the primary\n"
    )


@pytest.mark.parametrize("what", ["ROLE owner", "DATABASE managed"])
def test_too_little_room_is_said_and_not_refused(owner: str, what: str) -> None:
    administer(f"ALTER {what} CONNECTION LIMIT 5")
    try:
        assert look(owner, connections=5) == (0, "", "")
        status, stdout, stderr = look(owner, connections=6)
        assert look(owner, connections=6, waived=["room"]) == (0, "", "")
    finally:
        administer(f"ALTER {what} CONNECTION LIMIT -1")
    assert (status, stderr) == (0, "")
    assert stdout.startswith(
        "Look up: room: PostgreSQL lets this role have 5 connections, and the programs may open 6 "
    )
    # What is kept for administrators is nobody else's.
    assert "have 197 connections" in look(owner, connections=198)[1]


def test_what_the_url_says_of_tls_is_what_the_application_does(owner: str, authority: Path) -> None:
    right = f"{owner}?sslmode=verify-full&sslrootcert={authority}"
    assert look(right, sslmode="verify-full") == (0, "", "")
    status, _, stderr = look(right.replace("service.crt", "other.crt"), sslmode="verify-full")
    assert status == 1
    assert stderr.startswith("reachable: ")
    assert "certificate verify failed" in stderr


@pytest.mark.parametrize(("own", "says"), [("prefer", "this time encrypted"), ("disable", "not encrypted")])
def test_an_application_that_drops_it_is_refused(
    owner: str, authority: Path, tmp_path: Path, own: str, says: str
) -> None:
    (tmp_path / "careless.py").write_text(CARELESS.format(options={"sslmode": own}))
    environment = {"DJANGO_SETTINGS_MODULE": "careless", "PYTHONPATH": str(tmp_path)}
    status, _, stderr = look(f"{owner}?sslmode=require", environment, sslmode="require")
    (line,) = stderr.splitlines()
    assert status == 1
    assert line.startswith(
        "encryption: app_database_url asks for sslmode=require, and the application connects with "
        f"sslmode={own}, {says}"
    )


def test_the_environment_says_it_to_an_application_that_drops_it(
    owner: str, authority: Path, tmp_path: Path
) -> None:
    """What the wiring sets beside the URL."""
    (tmp_path / "careless.py").write_text(CARELESS.format(options={}))
    environment = {
        "DJANGO_SETTINGS_MODULE": "careless",
        "PYTHONPATH": str(tmp_path),
        "PGSSLMODE": "verify-full",
    }
    url = f"{owner}?sslmode=verify-full"
    assert look(url, environment | {"PGSSLROOTCERT": str(authority)}, sslmode="verify-full") == (0, "", "")
    wrong = environment | {"PGSSLROOTCERT": str(authority.with_name("other.crt"))}
    assert look(url, wrong, sslmode="verify-full")[0] == 1


def test_another_database_is_not_looked_at(tmp_path: Path) -> None:
    status, stdout, stderr = look(f"sqlite:///{tmp_path}/database")
    assert (status, stderr) == (0, "")
    assert stdout.startswith("Look up: the application's default database is sqlite ")


def test_a_rule_that_does_not_exist_cannot_be_waived(owner: str) -> None:
    status, _, stderr = look(owner, waived=["right"])
    assert status == 1
    assert stderr.startswith(
        "waived: django_app_database_waived has 'right', which is no rule; there are encryption,"
    )
