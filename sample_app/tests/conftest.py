"""Starts the servers once, and empties them before every test."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import django
import pytest
import requests

from tests import sinks, stack


def pytest_configure() -> None:
    os.environ.update(stack.ENVIRONMENT)
    django.setup()


@pytest.fixture(scope="session", autouse=True)
def servers() -> Iterator[None]:
    postgresql = stack.postgresql()
    stack.REDIS.start()
    stack.SANDBOX.start()
    for command in (["migrate", "--verbosity", "0"], ["collectstatic", "--noinput", "--verbosity", "0"]):
        subprocess.run([sys.executable, "manage.py", *command], cwd=stack.SOURCE, check=True)
    yield
    # A result object that dies later would look for Redis then.
    gc.collect()
    stack.SANDBOX.stop()
    stack.REDIS.stop()
    # TERM would wait for the connections of these tests.
    postgresql.stop(signal.SIGINT)


@pytest.fixture(autouse=True)
def empty(servers: None) -> None:
    """Rows, messages, charges and faults of the test before are gone."""
    from django.apps import apps

    from dispatch import services

    services._broker_paused_until = 0.0
    client = stack.broker()
    # Not FLUSHDB: that would take the bindings away that running workers have made.
    client.delete(*stack.QUEUES)
    stack.wait_for(lambda: stack.held() == 0, what="workers are idle")
    for model in ("orders.PaymentAttempt", "orders.Order", "crm.Lead", "reports.Report", "accounts.User"):
        apps.get_model(model).objects.all().delete()
    apps.get_model("operations.FailedTask").objects.all().delete()
    sinks.MAILS.clear()
    sinks.EVENTS.clear()
    requests.delete(f"{stack.SANDBOX_URL}/admin/ledger", timeout=5).raise_for_status()
    requests.delete(f"{stack.SANDBOX_URL}/admin/faults", timeout=5).raise_for_status()


@pytest.fixture(scope="session")
def worker(servers: None) -> Iterator[stack.Process]:
    with sinks.running() as environment:
        process = stack.worker("main", CELERY_SEND_TASK_EVENTS="1", **environment)
        yield process
        process.stop()


@pytest.fixture(scope="session")
def site(servers: None) -> Iterator[str]:
    """The address of the web server."""
    gunicorn, nginx = stack.web()
    yield stack.SITE
    nginx.stop()
    gunicorn.stop()


@pytest.fixture
def http(site: str) -> requests.Session:
    return stack.client()
