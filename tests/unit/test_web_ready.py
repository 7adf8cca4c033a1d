"""The question to new web processes, answered by a server on a real Unix socket."""

import json
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
    """Gives the answers in turn, the last one for ever; None is silence. Pages answer what they always do.

    What an answer says is its body, or of a redirect where that leads.
    """

    daemon_threads = True
    answers: list[tuple[int, str] | None]
    pages: dict[str, tuple[int, str]]
    heard: list[dict[str, str]]
    silence: threading.Event


class Handler(BaseHTTPRequestHandler):
    server: Application

    def do_GET(self) -> None:
        self.server.heard.append({"path": self.path, **dict(self.headers)})
        answers = self.server.answers
        answer: tuple[int, str] | None
        if self.path in self.server.pages:
            answer = self.server.pages[self.path]
        else:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            self.server.silence.wait()
            return
        self.send_response(answer[0])
        if 300 <= answer[0] < 400:
            self.send_header("Location", answer[1])
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
    monkeypatch.setattr(web_ready, "READINESS_SECONDS", 0.2)
    monkeypatch.setattr(web_ready, "PAGE_SECONDS", 0.2)
    with Application("web.sock", Handler) as server:
        server.answers, server.pages, server.heard = [(200, "")], {}, []
        server.silence = threading.Event()
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

    def run(seconds: float = 0.3, pages: tuple[str, ...] = ()) -> tuple[int, str]:
        asked = {"socket": "web.sock", "host": "shop.example", "path": "/readyz", "log": LOG}
        status: int = web_ready.main(json.dumps({**asked, "seconds": seconds, "pages": pages}))
        return status, capsys.readouterr().err

    return run


def test_an_application_that_answers_is_ready(application: Application, ask: Ask) -> None:
    assert ask(10) == (0, "")
    (heard,) = application.heard
    # As Nginx would ask: Django refuses other names and sends plain HTTP away.
    assert (heard["path"], heard["Host"], heard["X-Forwarded-Proto"]) == ("/readyz", "shop.example", "https")


def test_one_that_is_ready_later_is_waited_for(application: Application, ask: Ask) -> None:
    application.answers = [(503, "not yet"), None, (200, "")]
    assert ask(10) == (0, "")
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
    assert (
        "django_app_readiness_path is /readyz: the web processes must answer 200 there within 0.3 s" in said
    )
    assert reason in said
    # However often it was asked.
    assert "KeyError: 'X'" in said
    assert web_ready.AGENT not in said


@pytest.mark.parametrize(
    ("answer", "fix"),
    [
        ((301, "https://shop.example/readyz"), "SECURE_PROXY_SSL_HEADER"),
        ((301, "/en/health/?next=1"), "such as django_app_readiness_path: /en/health/"),
        ((302, "https://login.example/readyz"), "without a redirect"),
        ((400, "Bad Request"), "let ALLOWED_HOSTS of the settings have shop.example (app_domain)"),
        ((404, "Not Found"), "such as django_app_readiness_path: /"),
        ((403, "Forbidden"), "answers 200 to anybody"),
    ],
)
def test_what_to_type_depends_on_the_answer(
    application: Application, ask: Ask, answer: tuple[int, str], fix: str
) -> None:
    application.answers = [answer]
    status, said = ask()
    assert status == 1
    assert str(answer[0]) in said
    assert fix in said
    assert f", to {answer[1]}" in said or answer[0] >= 400


def test_pages_that_answer_anything_but_5xx_are_well(application: Application, ask: Ask) -> None:
    application.pages = {
        "/": (302, "/login/?next=/"),
        "/login/?next=/": (200, ""),
        "/gone": (404, ""),
        # The same path on another site is not the application's to answer.
        "/elsewhere": (302, "https://sso.example/broken"),
        "/broken": (500, ""),
        "/round": (302, "/round"),
    }
    assert ask(10, ("/", "/gone", "/elsewhere", "/round")) == (0, "")


def test_each_page_that_answers_5xx_is_told_with_the_way_to_it(application: Application, ask: Ask) -> None:
    application.pages = {
        "/": (302, "https://shop.example/login/"),
        "/login/": (500, "missing manifest entry"),
        "/shop": (503, ""),
        "/well": (200, ""),
    }
    status, said = ask(10, ("/", "/well", "/shop"))
    assert status == 1
    assert "django_app_smoke_paths has /, which leads to /login/, and the new release answers: 500" in said
    assert "missing manifest entry" in said
    assert "django_app_smoke_paths has /shop and the new release answers: 503" in said
    assert "/well" not in said
    assert "KeyError: 'X'" in said


def test_a_page_that_does_not_answer_is_told(application: Application, ask: Ask) -> None:
    application.answers = [(200, ""), None]
    assert "has /slow and the new release answers: no answer within 0.2 s" in ask(10, ("/slow",))[1]


def test_a_socket_that_is_not_there_is_told(ask: Ask) -> None:
    status, said = ask()
    assert (status, "No such file" in said) == (1, True)
