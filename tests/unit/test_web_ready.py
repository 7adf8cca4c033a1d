"""The question to new web processes, answered by a server on a real Unix socket."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from repository import source_module

web_ready = source_module("roles/django_app/files/web_ready.py")

LOG = "web.log"
Ask = Callable[..., tuple[int, str]]


class Application(ThreadingUnixStreamServer):
    """Gives the answers in turn, the last one for ever; None is silence."""

    daemon_threads = True
    answers: list[tuple[int, str] | None]
    heard: list[dict[str, str]]
    silence: threading.Event


class Handler(BaseHTTPRequestHandler):
    server: Application

    def do_GET(self) -> None:
        self.server.heard.append({"path": self.path, **dict(self.headers)})
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            self.server.silence.wait()
            return
        self.send_response(answer[0])
        self.end_headers()
        self.wfile.write(answer[1].encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        return "unix"


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    # A socket's path must be short.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(web_ready, "ANSWER_SECONDS", 0.2)
    with Application("web.sock", Handler) as server:
        server.answers, server.heard, server.silence = [(200, "")], [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield server
        server.silence.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run the script for so many seconds; return its exit status and what it says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / LOG).write_text(
        "Traceback\nKeyError: 'X'\n" + f'"GET /readyz" 500 "{web_ready.AGENT}"\n' * 50
    )

    def run(seconds: str = "0.3") -> tuple[int, str]:
        status: int = web_ready.main("web.sock", "/readyz", "shop.example", seconds, LOG)
        return status, capsys.readouterr().err

    return run


def test_an_application_that_answers_is_ready(application: Application, ask: Ask) -> None:
    assert ask("10") == (0, "")
    (heard,) = application.heard
    # As Nginx would ask: Django refuses other names and sends plain HTTP away.
    assert (heard["path"], heard["Host"], heard["X-Forwarded-Proto"]) == ("/readyz", "shop.example", "https")


def test_one_that_is_ready_later_is_waited_for(application: Application, ask: Ask) -> None:
    application.answers = [(503, "not yet"), None, (200, "")]
    assert ask("10") == (0, "")
    assert len(application.heard) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [((500, "<h1>Server Error</h1>"), "500 Internal Server Error\n<h1>"), (None, "no answer within")],
)
def test_one_that_is_not_is_told_with_its_last_answer_and_the_end_of_its_log(
    application: Application, ask: Ask, answer: tuple[int, str] | None, reason: str
) -> None:
    application.answers = [answer]
    status, said = ask()
    assert status == 1
    assert "/readyz did not answer 200 within 0.3 s" in said
    assert reason in said
    # However often it was asked.
    assert "KeyError: 'X'" in said
    assert web_ready.AGENT not in said


def test_a_redirect_is_not_ready(application: Application, ask: Ask) -> None:
    application.answers = [(301, "")]
    assert "301" in ask()[1]


def test_a_socket_that_is_not_there_is_told(ask: Ask) -> None:
    status, said = ask()
    assert (status, "No such file" in said) == (1, True)
