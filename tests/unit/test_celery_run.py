"""What starts the application's programs, with the real Gunicorn and Celery of the sample application.

tests/runtime tries the kinds of programs, and what the settings are for.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import application
from repository import PROJECT

PACKAGE = PROJECT / "roles/celery/files"
WEB = """
import json, os
from celery import Celery
app = Celery("web", broker="memory://")

def application(environ, start_response):
    with app.connection_for_write() as connection:
        queue = connection.SimpleQueue("celery")
        app.send_task("work")
        headers = queue.get(timeout=5).headers
    start_response("200 OK", [])
    answer = [os.getppid(), app.conf.task_acks_late, "rootstock_sent_at" in headers]
    yield json.dumps(answer).encode()
"""


class Unix(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, file: Path) -> None:
        super().__init__("localhost", timeout=10)
        self.file = file

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.file))


def started(directory: Path, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [application.python(), "-m", "rootstock_worker.run", *command],
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PACKAGE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ROOTSTOCK_CELERY_SETTINGS": json.dumps({"task_acks_late": True}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def gunicorn(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    (tmp_path / "web.py").write_text(WEB)
    program = str(application.python().parent / "gunicorn")
    process = started(tmp_path, program, "--bind", f"unix:{tmp_path}/socket", "web:application")
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def answer(file: Path) -> Any:
    connection = Unix(file)
    connection.request("GET", "/")
    return json.loads(connection.getresponse().read())


def test_the_workers_of_gunicorn_have_it(gunicorn: "subprocess.Popen[str]", tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    while not (tmp_path / "socket").exists():
        assert gunicorn.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer(tmp_path / "socket") == [gunicorn.pid, True, True]
    gunicorn.send_signal(signal.SIGTERM)
    assert gunicorn.wait(20) == 0
