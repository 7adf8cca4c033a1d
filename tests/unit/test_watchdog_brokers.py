"""Whether a broker answers: the watchdog leaves workers alone while it does not."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repository import source_module

worker = source_module("roles/supervisor/files/watchdog_worker.py")


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[socket.socket], None]], tuple[str, int]]]:
    """Start a server that does that with each connection; returns its address."""
    listeners = []

    def start(serve: Callable[[socket.socket], None]) -> tuple[str, int]:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    with contextlib.suppress(OSError):
                        serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        return "127.0.0.1", int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def replies(text: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        assert connection.recv(64) == b"PING\r\n"
        connection.sendall(text)

    return serve


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"+PONG\r\n", True),
        (b"-NOAUTH Authentication required.\r\n", True),
        (b"-LOADING Redis is loading the dataset in memory\r\n", False),
        (b"-ERR max number of clients reached\r\n", False),
    ],
)
def test_a_reply_counts_unless_it_says_that_nobody_is_served(
    server: Any, reply: bytes, expected: bool
) -> None:
    assert worker.answers(server(replies(reply))) is expected


def test_a_broker_that_hangs_or_is_gone_does_not_answer(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PING_SECONDS", 0.1)
    ended = threading.Event()
    hangs = server(lambda _: ended.wait(5) and None)
    assert not worker.answers(hangs)
    ended.set()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    assert not worker.answers(address)
    assert not worker.answers(("x" * 70, 6379))


def test_a_proxy_with_nobody_behind_it_does_not_answer(server: Any) -> None:
    assert not worker.answers(server(lambda connection: connection.recv(4096)))


def test_a_broker_that_speaks_tls_answers(server: Any, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(64)

    assert worker.answers(server(serve))
