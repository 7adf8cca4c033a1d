"""status.yml tells a healthy server from one with a fault, which is caused here."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generations import live
from stack import Stack, ansible, broker_setting, wait_for

Status = Callable[[], tuple[int, dict[str, Any], str]]


@pytest.fixture
def status(inventory: str, tmp_path: Path) -> Status:
    """Return a function that runs the playbook: its exit status, its JSON, and the end of its output."""

    def run() -> tuple[int, dict[str, Any], str]:
        path = tmp_path / "status.json"
        result: subprocess.CompletedProcess[str] = ansible(
            "-e", f"status_file={path}", inventory=inventory, playbook="status", check=False
        )
        assert path.stat().st_mode & 0o077 == 0
        return result.returncode, json.loads(path.read_text()), result.stdout.partition("Say what is not")[2]

    return run


def queues(found: dict[str, Any], app: str) -> dict[str, int]:
    """The number of consumers of each queue of an application."""
    (broker,) = next(item for item in found["apps"] if item["name"] == app)["brokers"]
    return {queue["name"]: queue["consumers"] for queue in broker["queues"]}


def test_both_applications_are_healthy(status: Status) -> None:
    code, found, _ = status()
    assert (code, found["state"]) == (0, "healthy")
    assert queues(found, "guestbook") == {"mail": 1}
    assert queues(found, "pages") == {"default": 1, "render": 1}


def test_a_stopped_worker_is_unhealthy(guestbook: Stack, status: Status) -> None:
    program = f"guestbook-worker-mail.{live(guestbook)}"
    guestbook.host.check_output(f"supervisorctl stop {program}")
    try:
        code, found, said = status()
    finally:
        guestbook.host.check_output(f"supervisorctl start {program}")
    assert (code, found["state"]) == (2, "unhealthy")
    assert program in said
    assert queues(found, "guestbook") == {"mail": 0}
    assert queues(found, "pages") == {"default": 1, "render": 1}
    wait_for(lambda: status()[0] == 0, 60, "healthy again")


def test_a_worker_that_runs_and_does_not_consume_is_unhealthy(pages: Stack, status: Status) -> None:
    control = (
        "from pages.celery import app\n"
        "print(json.dumps(getattr(app.control, arguments['do'])('render', reply=True,"
        " destination=[f'render.{arguments[\"generation\"]}@apps12'])))"
    )
    assert pages.python(control, {"do": "cancel_consumer", "generation": live(pages)})
    try:
        code, found, said = status()
    finally:
        assert pages.python(control, {"do": "add_consumer", "generation": live(pages)})
    assert code == 2
    assert queues(found, "pages") == {"default": 1, "render": 0}
    assert "render" in said
    assert "mail" not in said
    wait_for(lambda: status()[0] == 0, 60, "healthy again")


def test_a_full_redis_is_unhealthy(pages: Stack, status: Status) -> None:
    with broker_setting(pages, "maxmemory", "1mb"):
        code, found, said = status()
    assert (code, found["state"]) == (2, "unhealthy")
    assert "maxmemory" in said
    wait_for(lambda: status()[0] == 0, 60, "healthy again")
