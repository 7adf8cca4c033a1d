"""Wait until the web processes behind a socket answer 200 to the readiness path, then ask for pages.

Runs on the server, before anything is sent there. Arguments: a JSON object, see Asked. Exit status 1 if the
processes do not get ready, or answer 5xx to one of the pages, with the answers and the end of the log on
stderr.
"""

import http.client
import json
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

READINESS_SECONDS = 5.0
#: A page may do more than a probe, and for the first time.
PAGE_SECONDS = 30.0
POLL_SECONDS = 0.1
#: `/` often leads to a login page, that to the one with the language in its path.
REDIRECTS = 5
BODY_CHARACTERS = 500
LOG_LINES = 20
# In the access log, so that the lines of the waiting itself can be left out.
AGENT = "rootstock-readiness"


@dataclass(frozen=True)
class Asked:
    """The Unix socket, the host name to ask for, the readiness path, the seconds to wait, pages, the log."""

    socket: str
    host: str
    path: str
    seconds: float
    pages: list[str]
    log: str


@dataclass(frozen=True)
class Answer:
    """What was answered; without a status, why nothing was."""

    status: int
    text: str
    location: str = ""

    def __str__(self) -> str:
        return f"{self.text}, to {self.location}" if self.location else self.text


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


def ask(asked: Asked, url: str, timeout: float) -> Answer:
    """Send one request as Nginx would."""
    connection = UnixConnection(asked.socket, timeout)
    try:
        headers = {"Host": asked.host, "X-Forwarded-Proto": "https", "User-Agent": AGENT}
        connection.request("GET", url, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except TimeoutError:
        return Answer(0, f"no answer within {timeout:g} s")
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, str(error) or type(error).__name__)
    finally:
        connection.close()
    location = answer.headers.get("Location", "") if 300 <= answer.status < 400 else ""
    shown = "" if location else f"\n{body[:BODY_CHARACTERS]}".rstrip()
    return Answer(answer.status, f"{answer.status} {answer.reason}{shown}", location)


def is_same_host(host: str, url: str) -> bool:
    """Whether a redirect stays on the site."""
    return urlsplit(url).netloc in ("", host)


def readiness_fix(asked: Asked, answer: Answer) -> str:
    """Return what to type so that the readiness path answers 200."""
    if answer.location:
        target = urlsplit(urljoin(asked.path, answer.location)).path
        if target == asked.path and is_same_host(asked.host, answer.location):
            return (
                "the request says that it came by HTTPS, and the settings do not look: write "
                'SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") into them, or into '
                "app_settings_overlay."
            )
        return f"name a path that answers 200 without a redirect, such as django_app_readiness_path: {target}"
    if answer.status == 400:
        return f"let ALLOWED_HOSTS of the settings have {asked.host} (app_domain)."
    if answer.status in (401, 403, 404):
        return "name a path that answers 200 to anybody, such as django_app_readiness_path: /"
    return "read the log below."


def wait_until_ready(asked: Asked) -> str:
    """Return why the processes did not get ready, or nothing."""
    deadline = time.monotonic() + asked.seconds
    while (answer := ask(asked, asked.path, READINESS_SECONDS)).status != 200:
        if time.monotonic() >= deadline:
            return (
                f"django_app_readiness_path is {asked.path}: the web processes must answer 200 there within "
                f"{asked.seconds:g} s (django_app_ready_timeout). The last answer: {answer}\n"
                f"Fix: {readiness_fix(asked, answer)}"
            )
        time.sleep(POLL_SECONDS)
    return ""


def page_problem(asked: Asked, page: str) -> str:
    """Ask for a page, follow its redirects on the site; return why that is an error, or nothing."""
    url = page
    for _ in range(REDIRECTS + 1):
        answer = ask(asked, url, PAGE_SECONDS)
        if answer.status == 0 or answer.status >= 500:
            way = page if url == page else f"{page}, which leads to {url},"
            return (
                f"django_app_smoke_paths has {way} and the new release answers: {answer}\n"
                "Fix: correct the application as the log below says, or leave the path out."
            )
        if not answer.location or not is_same_host(asked.host, answer.location):
            break
        target = urlsplit(urljoin(url, answer.location))
        url = target.path + (f"?{target.query}" if target.query else "")
    return ""


def log_tail(path: Path) -> str:
    """The last lines of a log without those of the waiting, or why it cannot be read."""
    try:
        with path.open(errors="replace") as log:
            return "".join(deque((line for line in log if AGENT not in line), maxlen=LOG_LINES))
    except OSError as error:
        return f"(no log: {error})"


def main(arguments: str) -> int:
    """Exit status: 0 as soon as all is answered as it must be, 1 if something is not."""
    asked = Asked(**json.loads(arguments))
    problem = wait_until_ready(asked)
    problems = [problem] if problem else [page_problem(asked, page) for page in asked.pages]
    if not any(problems):
        return 0
    print("\n".join(filter(None, problems)), file=sys.stderr)
    print(f"--- the last lines of {asked.log}\n{log_tail(Path(asked.log))}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
