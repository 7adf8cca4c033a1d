"""Wait until a site answers 200 through this host's Nginx.

Runs on the server. Arguments: the site's first name; the path. Exit status 1 if it does not within
WAIT_SECONDS, with the last answer on stderr. Standard library only.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import time

ADDRESS = ("127.0.0.1", 443)
WAIT_SECONDS = 10.0
ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.2


class NginxConnection(http.client.HTTPSConnection):
    """HTTPS with Nginx for a name. Whose certificate it is, browsers judge."""

    def connect(self) -> None:
        """Raises OSError where no connection comes about."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(ADDRESS, timeout=self.timeout)
        self.sock = context.wrap_socket(plain, server_hostname=self.host)


def problem(name: str, path: str) -> str:
    """Ask once; return why it was not a 200, or nothing."""
    connection = NginxConnection(name, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"status {status}"


def main(name: str, path: str) -> None:
    """Wait. Raises SystemExit with the last answer."""
    deadline = time.monotonic() + WAIT_SECONDS
    while found := problem(name, path):
        if time.monotonic() > deadline:
            raise SystemExit(
                f"https://{name}{path} does not answer 200 through this host's Nginx: {found}. "
                "Read /var/log/nginx/error.log."
            )
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
