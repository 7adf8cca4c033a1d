"""Bytes over TLS, as they are: what an HTTP library would correct goes out uncorrected."""

import socket
import ssl


def stranger() -> ssl.SSLContext:
    """Return a context that trusts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(
    address: str, domain: str, seconds: float = 10, context: ssl.SSLContext | None = None
) -> ssl.SSLSocket:
    """Return a connection to the site."""
    raw = socket.create_connection((address, 443), timeout=seconds)
    return (context or stranger()).wrap_socket(raw, server_hostname=domain)


def exchange(address: str, domain: str, sent: bytes, seconds: float = 10) -> bytes:
    """Send bytes and return all that comes back until the server closes or is silent for so long."""
    received = b""
    with connect(address, domain, seconds) as connection:
        try:
            connection.sendall(sent)
            while chunk := connection.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionError, ssl.SSLError):
            return received
    return received


def statuses(received: bytes) -> list[int]:
    """Return the status of each answer."""
    return [int(line.split()[1]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]
