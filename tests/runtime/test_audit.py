"""The audit of a Redis that others run, with a real one: what each user may ask, and whether TLS is real."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from conftest import HERE, wait_for

SCRIPT = Path(os.environ.get("AUDIT_SCRIPT", str(HERE.parents[1] / "roles/celery/files/celery_audit.py")))
# What a service may leave a user of it, beside everything that Celery needs.
USERS = {
    "all": "+@all",
    "no-config": "+@all -config",
    "no-info": "+@all -info",
    "neither": "+@all -config -info",
}
PASSWORD = "kept-to-myself"
APPLICATION = """
import os
from celery import Celery

app = Celery("project", broker=os.environ["BROKER"], backend="django-db")
app.conf.update(
    task_default_queue="default",
    task_acks_late=True,
    broker_transport_options={"visibility_timeout": 3600},
)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificate(directory: Path, name: str) -> Path:
    """Make a certificate for 127.0.0.1 that is its own authority, and its key."""
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    files: list[str | Path] = ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *names],
        check=True,
        capture_output=True,
    )
    return directory / f"{name}.crt"


class Managed:
    """A Redis with users of few rights, with and without TLS."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self.tls_port = free_port(), free_port()
        self.authority, self.other = certificate(directory, "service"), certificate(directory, "other")
        (directory / "project.py").write_text(APPLICATION)
        users = "".join(f"user {name} on >{PASSWORD} ~* &* {may}\n" for name, may in USERS.items())
        (directory / "users.acl").write_text(f"user default off\n{users}")
        options = (
            f"--port {self.port} --bind 127.0.0.1 --aclfile users.acl --appendonly yes --tls-auth-clients no"
        )
        options += f" --tls-port {self.tls_port} --tls-cert-file service.crt --tls-key-file service.key"
        options += " --tls-ca-cert-file service.crt"
        program = shutil.which("redis-server")
        assert program, "no redis-server: make test-app runs these tests where there is one"
        self.process = subprocess.Popen([program, *options.split()], cwd=directory, stdout=subprocess.DEVNULL)
        self.client: Redis[str] = Redis(
            port=self.port, username="all", password=PASSWORD, decode_responses=True
        )
        wait_for(self.answers, 10, "redis-server answers")

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    def audit(
        self, user: str, query: str | None = None, verified: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        """Audit an application that uses it as a user, over TLS if the URL has options."""
        port = self.port if query is None else self.tls_port
        scheme = "redis" if query is None else "rediss"
        address: dict[str, Any] = {"host": "127.0.0.1", "port": port, "db": 0}
        expected = {
            "queues": ["default"],
            "visibility_timeout": 3600,
            "time_limit_margin": 300,
            "broker": address | {"managed": True, "verified": verified},
            "results": address,
            "key_prefix": "",
            "waived": [],
        }
        url = f"{scheme}://{user}:{PASSWORD}@127.0.0.1:{port}/0{query or ''}"
        done = subprocess.run(
            [sys.executable, "-", "project", json.dumps(expected)],
            input=SCRIPT.read_text(),
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "BROKER": url},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert PASSWORD not in done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    found = Managed(tmp_path_factory.mktemp("managed"))
    yield found
    found.process.kill()
    found.process.wait()


@pytest.fixture(autouse=True)
def sound(managed: Managed) -> None:
    managed.client.config_set("maxmemory-policy", "noeviction")
    managed.client.config_set("appendonly", "yes")


def rules(text: str) -> list[str]:
    return [line.removeprefix("Not seen: ").partition(":")[0] for line in text.splitlines()]


@pytest.mark.parametrize("user", ["all", "no-config", "no-info"])
def test_one_of_info_and_config_is_enough(managed: Managed, user: str) -> None:
    done = managed.audit(user)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    managed.client.config_set("maxmemory-policy", "allkeys-lru")
    managed.client.config_set("appendonly", "no")
    done = managed.audit(user)
    assert (done.returncode, done.stdout, rules(done.stderr)) == (1, "", ["eviction", "durability"])


def test_who_may_ask_neither_is_told_what_to_look_up(managed: Managed) -> None:
    done = managed.audit("neither")
    assert (done.returncode, done.stderr, rules(done.stdout)) == (0, "", ["eviction", "durability"])
    for line, setting in zip(done.stdout.splitlines(), ("maxmemory-policy", "appendonly"), strict=True):
        assert line.startswith("Not seen: ")
        assert setting in line


def test_a_password_that_is_not_the_services_is_named_and_not_shown(managed: Managed) -> None:
    done = managed.audit("nobody")
    assert (done.returncode, rules(done.stderr)) == (1, ["reachable"])
    assert "app_broker_url" in done.stderr


def test_a_certificate_that_is_checked_passes(managed: Managed) -> None:
    done = managed.audit(
        "no-config", f"?ssl_cert_reqs=required&ssl_ca_certs={managed.authority}", verified=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_ones_certificate_is_refused(managed: Managed) -> None:
    done = managed.audit("all", f"?ssl_cert_reqs=required&ssl_ca_certs={managed.other}", verified=True)
    assert (done.returncode, rules(done.stderr)) == (1, ["reachable"])
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr


@pytest.mark.parametrize("query", ["", "?ssl_cert_reqs=none"])
def test_celery_takes_any_certificate_of_a_url_that_asks_for_none(managed: Managed, query: str) -> None:
    """Why preflight refuses both: here nobody has named the authority, and it connects."""
    done = managed.audit("all", query)
    assert (done.returncode, done.stderr) == (0, "")
    done = managed.audit("all", query, verified=True)
    assert (done.returncode, rules(done.stderr)) == (1, ["verified"])
