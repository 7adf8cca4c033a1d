"""Wait until the web processes behind a socket answer 200 to the readiness path.

Runs on the server, before anything is sent there. Arguments: the Unix socket; the path; the host name to ask
for; the seconds to wait; the log of the web processes. Exit status 1 if they do not, with the last answer and
the end of the log on stderr.
"""

import http.client
import socket
import sys
import time
from collections import deque
from pathlib import Path

ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.1
BODY_CHARACTERS = 500
LOG_LINES = 20
# In the access log, so that the lines of the waiting itself can be left out.
AGENT = "rootstock-readiness"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Raises OSError when nobody listens."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def problem(path: str, url: str, host: str, timeout: float) -> str:
    """Ask once; return why it was not a 200, or nothing."""
    connection = UnixConnection(path, timeout)
    try:
        headers = {"Host": host, "X-Forwarded-Proto": "https", "User-Agent": AGENT}
        connection.request("GET", url, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except TimeoutError:
        return f"no answer within {timeout:.0f} s"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if answer.status == 200 else f"{answer.status} {answer.reason}\n{body[:BODY_CHARACTERS]}"


def log_tail(path: Path) -> str:
    """The last lines of a log without those of the waiting, or why it cannot be read."""
    try:
        with path.open(errors="replace") as log:
            return "".join(deque((line for line in log if AGENT not in line), maxlen=LOG_LINES))
    except OSError as error:
        return f"(no log: {error})"


def main(path: str, url: str, host: str, seconds: str, log: str) -> int:
    """Exit status: 0 as soon as the answer is 200, 1 after the given seconds."""
    deadline = time.monotonic() + float(seconds)
    while found := problem(path, url, host, ANSWER_SECONDS):
        if time.monotonic() >= deadline:
            print(f"{url} did not answer 200 within {seconds} s. At last: {found}", file=sys.stderr)
            print(f"--- the last lines of {log}\n{log_tail(Path(log))}", file=sys.stderr)
            return 1
        time.sleep(POLL_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
