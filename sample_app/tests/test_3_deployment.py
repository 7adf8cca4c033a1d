"""Health, headers, cookies, settings and logs, as a deployment needs them. No worker runs."""

import os
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests
from django.core.management import call_command

from shop.retry import backoff
from tests import stack


class UnixConnection(HTTPConnection):
    """To Gunicorn's own socket, as a probe on the machine asks."""

    def connect(self) -> None:
        import socket

        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(stack.HERE / "web.sock"))


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-Proto": "https"}])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probe_over_the_socket_is_not_redirected(site: str, path: str, headers: dict[str, str]) -> None:
    connection = UnixConnection("localhost")
    connection.request("GET", path, headers=headers)
    assert connection.getresponse().status == 200


def test_everything_else_is_redirected_to_tls(site: str) -> None:
    connection = UnixConnection("localhost")
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.status == 301
    assert response.headers["Location"].startswith("https://localhost")


def test_readiness_names_each_service_and_its_latency(http: requests.Session, site: str) -> None:
    answer = http.get(f"{site}/readyz", timeout=10).json()
    assert answer["ready"] is True
    assert set(answer["checks"]) == {"database", "broker", "cache"}
    for check in answer["checks"].values():
        assert check["ok"] is True
        assert 0 < check["milliseconds"] < 2000


def test_readiness_without_redis_and_with_one_that_hangs(http: requests.Session, site: str) -> None:
    for stop, resume in (
        (stack.REDIS.kill, stack.REDIS.start),
        (lambda: stack.REDIS.signal(signal.SIGSTOP), lambda: stack.REDIS.signal(signal.SIGCONT)),
    ):
        stop()
        try:
            started = time.monotonic()
            response = http.get(f"{site}/readyz", timeout=10)
            assert time.monotonic() - started < 3
            alive = http.get(f"{site}/healthz", timeout=10)
        finally:
            resume()
        assert response.status_code == 503
        checks = response.json()["checks"]
        assert [name for name in checks if not checks[name]["ok"]] == ["broker", "cache"]
        assert "secret" not in response.text
        assert alive.status_code == 200
        stack.wait_for(lambda: http.get(f"{site}/readyz", timeout=10).status_code == 200)


def test_headers_and_cookies(http: requests.Session, site: str) -> None:
    response = http.get(f"{site}/", timeout=10)
    headers = response.headers
    assert headers["Strict-Transport-Security"].startswith("max-age=63072000")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "Secure" in headers["Set-Cookie"]
    wrong_host = http.get(f"{site}/", headers={"Host": "evil.example"}, timeout=10)
    assert wrong_host.status_code == 400


def test_static_files_carry_a_hash(http: requests.Session, site: str) -> None:
    page = http.get(f"{site}/", timeout=10).text
    assert 'href="/static/shop.' in page
    assert 'href="/static/shop.css"' not in page


def test_checks_for_a_deployment_are_clean() -> None:
    call_command("check", deploy=True, fail_level="INFO")
    call_command("makemigrations", check=True, dry_run=True)


def test_missing_settings_are_all_named_at_once() -> None:
    environment = os.environ | {"SECRET_KEY": "", "CRM_URL": ""}
    done = subprocess.run(
        [stack.BIN / "celery", "-A", "shop", "report"],
        cwd=stack.SOURCE,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Set in the environment: SECRET_KEY, CRM_URL" in done.stderr + done.stdout


def test_diagnostic_tasks_are_off_by_default() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DIAGNOSTIC_TASKS"}
    script = "from shop.celery import app; app.loader.import_default_modules(); print(*app.tasks)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=stack.SOURCE, env=environment, capture_output=True, text=True
    )
    assert "orders.tasks.process_payment" in done.stdout
    assert "diagnostics" not in done.stdout


def test_every_task_has_a_limit_below_the_visibility_timeout() -> None:
    from shop.celery import app

    app.loader.import_default_modules()
    names = [name for name in app.tasks if not name.startswith("celery.")]
    assert len(names) >= 9
    for name in names:
        limit = app.tasks[name].time_limit or app.conf.task_time_limit
        assert limit + 300 <= app.conf.broker_transport_options["visibility_timeout"], name
        soft = app.tasks[name].soft_time_limit or app.conf.task_soft_time_limit
        assert 0 < soft < limit, name


def test_backoff_grows_spreads_and_is_bounded() -> None:
    for attempt, middle in ((1, 2), (2, 4), (3, 8), (5, 32)):
        drawn = [backoff(attempt) for _ in range(500)]
        assert min(drawn) >= max(1, middle / 2)
        assert max(drawn) <= middle * 1.5
        assert max(drawn) - min(drawn) > middle / 2
    assert {backoff(1000) for _ in range(100)} == {600}


def test_no_secret_in_any_log(http: requests.Session, site: str) -> None:
    http.post(f"{site}/api/orders", json={"product": "mug", "email": "c@example.com"}, timeout=10)
    secrets = [stack.REDIS_PASSWORD, stack.ENVIRONMENT["SECRET_KEY"], "tok_visa", "example.com"]
    for log in Path(stack.HERE).glob("*.log"):
        if log.stem.startswith(("gunicorn", "worker", "beat")):
            for secret in secrets:
                assert secret not in log.read_text(), log.name
