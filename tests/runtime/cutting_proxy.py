"""A network that breaks while something is on its way from Redis to a worker, or from a worker to Redis."""

import contextlib
import socket
import threading
from typing import Self


class CuttingProxy:
    """Hands on TCP connections to a port here; each `every`th answer with `marker` ends its connection.

    With `answers` false each such request does.
    """

    def __init__(self, port: int, marker: bytes, every: int, answers: bool = True) -> None:
        self.target, self.marker, self.every, self.answers = port, marker, every, answers
        self.seen = self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in [self.listener, *self.sockets]:
            _end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            self.sockets += [client, server]
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._hand_on, args=(source, sink, answers), daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if answers == self.answers and self.marker in data:
                    self.seen += 1
                    if self.seen % self.every == 0:
                        self.cuts += 1
                        break
                sink.sendall(data)
        except OSError:
            pass
        finally:
            _end(source)
            _end(sink)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
