"""A mail server and a Sentry that only listen."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAILS: list[str] = []
EVENTS: list[bytes] = []


class MailServer(socketserver.StreamRequestHandler):
    """Enough SMTP to take a mail."""

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            command = line[:4].upper()
            if command == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                MAILS.append(text.decode())
            self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")


class Sentry(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        EVENTS.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Starts both; gives what a worker has to have in its environment to use them."""
    mail_server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailServer)
    sentry = ThreadingHTTPServer(("127.0.0.1", 0), Sentry)
    for server in (mail_server, sentry):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "EMAIL_URL": f"smtp://127.0.0.1:{mail_server.server_address[1]}",
        "SENTRY_DSN": f"http://key@127.0.0.1:{sentry.server_address[1]}/1",
        "ALERT_EMAILS": "operations@example.com",
    }
    mail_server.shutdown()
    sentry.shutdown()
