"""The question to a site through Nginx, answered by a server that speaks TLS."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer

import pytest

from repository import source_module

site_answers = source_module("roles/nginx/files/site_answers.py")


class Site(ThreadingTCPServer):
    """Gives the statuses in turn, the last one for ever."""

    daemon_threads = True
    statuses: list[int]
    names: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=x"
    certificate, key = tmp_path / "c", tmp_path / "k"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], capture_output=True, check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Site(("127.0.0.1", 0), Handler) as found:
        found.names = []
        context.sni_callback = lambda _socket, name, _context: found.names.append(name)
        found.socket = context.wrap_socket(found.socket, server_side=True)
        monkeypatch.setattr(site_answers, "ADDRESS", found.server_address)
        monkeypatch.setattr(site_answers, "POLL_SECONDS", 0.01)
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_it_waits_for_200_at_the_name(site: Site) -> None:
    site.statuses = [502, 503, 200]
    site_answers.main("shop.example", "/readyz")
    assert site.names == ["shop.example"] * 3


def test_a_site_that_does_not_answer_ends_the_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_answers, "WAIT_SECONDS", 0.1)
    site.statuses = [502]
    with pytest.raises(SystemExit, match=r"answer 200 .*: status 502"):
        site_answers.main("shop.example", "/readyz")


def test_no_nginx_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_answers, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(site_answers, "ADDRESS", ("127.0.0.1", 9))
    with pytest.raises(SystemExit, match="refused"):
        site_answers.main("shop.example", "/readyz")
