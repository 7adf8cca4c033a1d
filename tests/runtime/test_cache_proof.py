"""What a deploy finds out about Django's caches, with a real Redis and the users that the role writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import HERE, Broker

#: Where it lies in the container of the tests is told.
SCRIPT = Path(
    os.environ.get("CACHE_PROOF_SCRIPT", str(HERE.parents[1] / "roles/django_app/files/cache_proof.py"))
)
REDIS = "django.core.cache.backends.redis.RedisCache"
MEMORY = "django.core.cache.backends.locmem.LocMemCache"
SETTINGS = """
SECRET_KEY = "of a test"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
ROOT_URLCONF = "urls"
USE_TZ = True
LOGIN_URL = {login!r}
CACHES = {caches!r}
"""
URLS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("accounts/enter/", lambda request: HttpResponse(), name="enter")]
"""
#: A backend that hides the errors of its server, as django-redis does with IGNORE_EXCEPTIONS.
SILENT = """
from django.core.cache.backends.locmem import LocMemCache


class SilentCache(LocMemCache):
    def get(self, key, default=None, version=None):
        return default
"""


class Project:
    """A Django project with its settings, and what the program says of it."""

    def __init__(self, directory: Path, server: Broker) -> None:
        self.directory, self.server = directory, server
        (directory / "urls.py").write_text(URLS)
        (directory / "silent.py").write_text(SILENT)

    def url(self, user: str, database: int) -> str:
        return f"redis://{user}:password-of-{user}@127.0.0.1:{self.server.port}/{database}"

    def prove(
        self, location: str | list[str], backend: str = REDIS, first: bool = False, login: str = "/no/page/"
    ) -> tuple[int, list[str], list[str]]:
        """Exit status, problems and pages."""
        caches = {"default": {"BACKEND": backend, "LOCATION": location}}
        (self.directory / "settings.py").write_text(SETTINGS.format(caches=caches, login=login))
        taken = [{"name": "the broker of Celery", "host": "localhost", "port": self.server.port, "db": 1}]
        done = subprocess.run(
            [sys.executable, "-", json.dumps({"taken": taken, "first": first})],
            input=SCRIPT.read_text(),
            cwd=self.directory,
            env=os.environ
            | {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        pages: list[str] = json.loads(done.stdout)["pages"]
        return done.returncode, done.stderr.splitlines(), pages


@pytest.fixture
def project(tmp_path: Path, server: Broker) -> Project:
    return Project(tmp_path, server)


def entries(project: Project) -> int:
    client: Any = project.server.client(0)
    return int(client.dbsize())


@pytest.fixture(autouse=True)
def _empty_cache(server: Broker) -> None:
    server.client(0).flushdb()


def test_a_cache_that_works_is_proved_and_left_as_it_was(project: Project) -> None:
    project.server.client(0).set("session", "of a visitor")
    assert project.prove(project.url("plain-cache", 0)) == (0, [""], [])
    assert entries(project) == 1


def test_before_the_first_release_serves_clear_is_proved_as_well(project: Project) -> None:
    project.server.client(0).set("session", "of nobody")
    assert project.prove(project.url("plain-cache", 0), first=True) == (0, [""], [])
    assert entries(project) == 0


def test_a_cache_on_the_brokers_database_is_refused_and_not_touched(project: Project) -> None:
    project.server.client(1).set("a-task", "that waits")
    status, (problem,), _ = project.prove(project.url("plain-app", 1), first=True)
    assert status == 1
    assert f"CACHES['default'] of the settings is database 1 of 127.0.0.1:{project.server.port}" in problem
    assert "which is the broker of Celery" in problem
    assert "Fix: let the cache have CACHE_URL, under the name" in problem
    assert project.server.client(1).get("a-task") == b"that waits"


def test_one_of_several_places_is_found(project: Project) -> None:
    places = [project.url("plain-cache", 0), project.url("plain-app", 1)]
    assert "which is the broker of Celery" in project.prove(places)[1][0]


def test_a_command_that_redis_refuses_is_named_with_the_line_that_grants_it(project: Project) -> None:
    status, (problem,), _ = project.prove(project.url("plain-app", 3), first=True)
    assert status == 1
    assert "fails at clear(): NoPermissionError" in problem
    assert 'Fix: app_redis_rules: ["+flushdb"]' in problem
    assert "password" not in problem


@pytest.mark.parametrize(
    ("location", "fix"),
    [
        ("redis://plain-cache:wrong@127.0.0.1:{port}/0", "unchanged: it has the user and the password"),
        ("redis://127.0.0.1:1/0", "let LOCATION be CACHE_URL of the environment"),
    ],
)
def test_a_server_that_cannot_be_used_is_told(project: Project, location: str, fix: str) -> None:
    status, (problem,), _ = project.prove(location.format(port=project.server.port))
    assert status == 1
    assert "fails at set()" in problem
    assert fix in problem
    assert "wrong" not in problem


def test_a_backend_that_hides_its_errors_is_found(project: Project) -> None:
    status, (problem,), _ = project.prove("", backend="silent.SilentCache")
    assert (status, "does not return what was just set" in problem) == (1, True)


def test_a_backend_that_is_not_installed_is_told(project: Project) -> None:
    status, (problem,), _ = project.prove("", backend="no_such_package.Cache")
    assert (status, "django_app_extra_requirements" in problem) == (1, True)


@pytest.mark.parametrize("backend", [MEMORY, "django.core.cache.backends.dummy.DummyCache"])
def test_a_cache_without_a_server_needs_none(project: Project, backend: str) -> None:
    assert project.prove("", backend=backend, first=True) == (0, [""], [])


@pytest.mark.parametrize("login", ["/accounts/enter/", "enter"])
def test_the_login_page_is_told_if_the_application_has_it(project: Project, login: str) -> None:
    assert project.prove("", backend=MEMORY, login=login)[2] == ["/accounts/enter/"]
