"""What tests ask a server about its generations: which one is live, what runs of each, what beat did."""

import json
import re
import secrets
import time
from datetime import datetime
from itertools import pairwise
from types import TracebackType
from typing import Self

from stack import APP, Stack, wait_for
from traffic import QUEUES

LOCK = f"/srv/{APP}/deploy.lock"


def live(stack: Stack) -> str:
    """Return the name of the live generation."""
    return str(stack.host.check_output(f"cat /srv/{stack.app}/generation"))


def release(stack: Stack) -> str:
    """Return the id of the release that is live."""
    return str(stack.host.check_output(f"basename $(readlink /srv/{APP}/current)"))


def pids(stack: Stack) -> dict[str, int]:
    """Return the process id of every program of the application that runs, draining ones included."""
    status = stack.host.run("supervisorctl status").stdout
    found = re.findall(rf"^({APP}-\S+)\s+\w+\s+pid (\d+),", status, re.MULTILINE)
    return {name: int(pid) for name, pid in found}


def generations(stack: Stack) -> set[str]:
    """Return the generations of which a program is left, whatever its state."""
    return {
        name.split(".", 1)[1] for name in stack.programs() if name.startswith(f"{stack.app}-") and "." in name
    }


def releases_in_use(stack: Stack) -> set[str]:
    """Return the releases in which a process of the application runs."""
    # In a container root may not read the links of another user's processes.
    find = "find /proc -mindepth 2 -maxdepth 2 -name cwd -printf '%l\\n'"
    listed = stack.host.run(f"runuser -u {APP} -- {find} 2>/dev/null").stdout
    return set(re.findall(rf"^/srv/{APP}/releases/(\w+)", listed, re.MULTILINE))


def files(stack: Stack) -> list[str]:
    """Return Supervisor's files of the application."""
    return sorted(str(stack.host.check_output(f"ls /etc/supervisor/conf.d | grep '^{APP}'")).split())


def nodes(stack: Stack) -> set[str]:
    """Run a task of each queue; return the names of the workers that did them, without the host's."""
    answers = [stack.send("diagnostics.tasks.whoami", queue=queue) for queue in QUEUES]
    return {answer["hostname"].split("@")[0] for answer in answers}


def wait_until_drained(stack: Stack, seconds: float = 120) -> None:
    """Wait until nothing but the live generation is left."""
    wait_for(lambda: generations(stack) == {live(stack)}, seconds, "the old generations have finished")


def beats(stack: Stack, entry: str) -> list[float]:
    """Return when (seconds since 1970) beat has sent an entry of its schedule, as far as its log goes."""
    log = stack.host.check_output(f"cat $(ls -rt /var/log/{APP}/{APP}-beat.log*)")
    lines = [json.loads(line) for line in log.splitlines() if f"Sending due task {entry} " in line]
    # The application's time zone is UTC.
    sent = [datetime.strptime(line["time"] + "+0000", "%Y-%m-%d %H:%M:%S,%f%z") for line in lines]
    return [when.timestamp() for when in sent]


class Watch:
    """Samples, several times per second, how many processes pgrep finds.

    A context manager; the samples are there when it has ended. In a pattern one letter is in brackets, so
    that it does not find itself.
    """

    def __init__(self, stack: Stack, options: str) -> None:
        self.stack = stack
        self.loop = f"""while sleep 0.25; do
    echo $(date +%s.%N) $(pgrep --count {options})
done
"""
        self.unit = f"watch-{secrets.token_hex(4)}"
        self.begun = self.ended = 0.0
        #: (seconds since 1970, number of processes)
        self.samples: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        self.begun = time.time()
        home = f"/run/{self.unit}"
        self.stack.host.check_output(f"mkdir {home} && printf %s %s >{home}/loop", "%s", self.loop)
        self.stack.host.check_output(
            f"systemd-run --quiet --collect --unit {self.unit} "
            f"--property StandardOutput=truncate:{home}/samples sh {home}/loop"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.host.check_output(f"systemctl stop {self.unit}")
        self.ended = time.time()
        text = self.stack.host.check_output(f"cat /run/{self.unit}/samples && rm -r /run/{self.unit}")
        self.samples = [(float(when), int(count)) for when, count in map(str.split, text.splitlines())]

    @property
    def most(self) -> int:
        """The largest number at any time."""
        return max(count for _, count in self.samples)

    @property
    def longest_absence(self) -> float:
        """Seconds of the longest span in which there was none."""
        seen = [self.begun, *(when for when, count in self.samples if count), self.ended]
        return max(after - before for before, after in pairwise(seen))
