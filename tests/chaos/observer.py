"""What is asked of a server during a run of faults, and after it."""

import json
import os
import re
import subprocess
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

from chaos.history import Execution, Left, Sample
from generations import LOCK, beats, generations, live
from injection import roots
from repository import source_module
from stack import APP, PROJECT, Stack
from trial import sql

status_report = source_module("plugins/filter/status_report.py").status_report

#: Between two questions for the status: one costs the server about two seconds of a processor.
STATUS_SECONDS = 15.0
GROUPS = ["redis", "postgresql", "web", "workers", "beat", "flower"]
ASKED = {
    "app": APP,
    "application": APP,
    "domain": "localhost",
    "readiness_path": "/readyz",
    "groups": GROUPS,
    "member": False,
}
LOOK_SECONDS = 120


# --- Status


def look(name: str) -> Sample:
    """Asks and judges as playbooks/status.yml does, without the playbook: see playbooks/tasks/look.yml."""
    files = PROJECT / "playbooks/files"
    application = (files / "status_application.py").read_text()
    code = f"{(files / 'status_host.py').read_text()}\nmain({application!r})\n"
    begun = time.time()
    try:
        done = subprocess.run(
            ["docker", "exec", "--interactive", name, "python3", "-", json.dumps(ASKED)],
            input=code,
            capture_output=True,
            text=True,
            check=False,
            timeout=LOOK_SECONDS,
        )
        answer = {"stdout": done.stdout, "stderr": done.stderr}
    except subprocess.TimeoutExpired:
        answer = {"msg": "no answer"}
    report: dict[str, Any] = status_report([{"host": name, "app": APP, "groups": GROUPS, "look": answer}])
    reasons = tuple(reason["text"] for reason in report["reasons"])
    return Sample(begun, report["state"], reasons, os.getloadavg()[0])


class Sampler:
    """Asks for the status every so many seconds, as a context manager."""

    def __init__(self, stack: Stack) -> None:
        self.samples: list[Sample] = []
        self._name = str(stack.host.backend.get_hostname())
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(STATUS_SECONDS):
            self.samples.append(look(self._name))


# --- Tasks


def executions(stack: Stack, run: str) -> list[Execution]:
    """The rows of a run's tasks."""
    query = (
        "select key, extract(epoch from started_at), extract(epoch from finished_at), node "  # noqa: S608 - no input of anybody's, 2026-11-30
        f"from diagnostics_effect where key like '{run}/%' order by started_at"
    )
    rows = (row.split("|") for row in sql(stack, query))
    return [Execution(key, float(started), float(finished), node) for key, started, finished, node in rows]


def working_pools(stack: Stack, run: str, since: float) -> set[str]:
    """The pools that have done a task of the run which began after that time."""
    query = (
        "select distinct split_part(node, '.', 1) from diagnostics_effect "  # noqa: S608 - no input of anybody's, 2026-11-30
        f"where key like '{run}/%' and started_at > to_timestamp({since:f})"
    )
    return set(sql(stack, query))


# Each message of the run: key, id, where it is, since when, and whether who has taken it certainly lives.
_LEFT = r"""
import base64
from pathlib import Path

def key_of(message):
    try:
        args = json.loads(base64.b64decode(message["body"]))[0]
        return str(args[0]) if args else ""
    except (ValueError, KeyError, IndexError, TypeError):
        return ""

def lives(holder):
    try:
        _, machine, pid, began = holder.rsplit("|", 3)
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (ValueError, OSError):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    here = f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    return f"{machine}:".startswith(f"{here}:") and stat[0] not in "ZX" and stat[19] == began

left, letters = [], []
def add(message, where, since, living):
    if key_of(message).startswith(arguments["run"] + "/"):
        left.append([key_of(message), message["headers"]["id"], where, since, living])

for key in server.scan_iter(count=1000):
    name = key.split("\x06\x16")[0]
    if name in arguments["queues"]:
        for item in server.lrange(key, 0, -1):
            message = json.loads(item)
            add(message, name, float(message["headers"].get("rootstock_sent_at", 0)), False)
    elif key.startswith("unacked") and server.type(key) == "hash":
        holder = key.removeprefix("unacked").removeprefix(".")
        for tag, item in server.hgetall(key).items():
            since = server.zscore(key.replace("unacked", "unacked_index", 1), tag)
            add(json.loads(item)[0], holder or "unacked", float(since or 0), lives(holder))
for record in server.hvals("rootstock.dead_letters"):
    try:
        letters.append(key_of(json.loads(json.loads(record)["text"])))
    except (ValueError, KeyError):
        pass
dead = [holder for holder in server.smembers("rootstock.holders") if not lives(holder)]
print(json.dumps({"left": left, "letters": letters, "dead": dead}))
"""

# What workers know of.
_KNOWN = """
from shop.celery import app
inspect = app.control.inspect(timeout=3)
known = []
for answer in (inspect.active(), inspect.reserved(), inspect.scheduled()):
    for tasks in (answer or {}).values():
        known += [task.get("request", task)["id"] for task in tasks]
print(json.dumps(known))
"""


class Redis:
    """What is in Redis of a run: messages, dead letters, holders that are dead."""

    def __init__(self, stack: Stack, run: str) -> None:
        found = stack.redis(_LEFT, {"run": run, "queues": ["critical", "default", "low-priority"]})
        self._left: list[tuple[str, str, str, float, bool]] = [tuple(entry) for entry in found["left"]]
        self.letters = [key for key in found["letters"] if key.startswith(f"{run}/")]
        self.dead_holders: list[str] = found["dead"]

    @property
    def ids(self) -> set[str]:
        """The ids of all messages."""
        return {identity for _, identity, _, _, _ in self._left}

    @property
    def working(self) -> bool:
        """Whether a message waits in a queue or is with a worker that lives."""
        return any(living or "|" not in where for _, _, where, _, living in self._left)

    def left(self, known: set[str]) -> list[Left]:
        """All messages; those that a living worker has and knows are on their way."""
        return [
            Left(key, where, living and identity in known, since)
            for key, identity, where, since, living in self._left
        ]


def settle(stack: Stack, run: str, seconds: float, unchanged: float) -> tuple[Redis, list[Left]]:
    """Waits until no message of the run is left, or the same ones for so long; returns what is left."""
    deadline, since, before, quiet = time.monotonic() + seconds, time.monotonic(), None, 0
    while True:
        found = Redis(stack, run)
        if found.ids != before:
            since, before = time.monotonic(), found.ids
        # A message on its way from a queue to a worker is in neither for a moment.
        quiet = 0 if found.ids else quiet + 1
        same = time.monotonic() - since
        if quiet == 2:
            return found, []
        if time.monotonic() > deadline or (found.ids and same > unchanged and not _known(stack) & found.ids):
            known = _known(stack)
            return found, [left for left in found.left(known) if not left.known]
        time.sleep(2)


def _known(stack: Stack) -> set[str]:
    return set(stack.python(_KNOWN))


# --- The rest


def ticks(stack: Stack, since: float, until: float) -> tuple[list[float], float]:
    """When beat has sent the sweep, and how often it should."""
    interval = stack.python("from shop.celery import app\nprint(app.conf.beat_schedule['sweep']['schedule'])")
    return [when for when in beats(stack, "sweep") if since <= when <= until], float(interval)


def orders_unfinished(stack: Stack, since: float) -> int:
    """Orders since then that wait for something."""
    query = (
        "select count(*) from orders_order where due_at is not null "  # noqa: S608 - no input of anybody's, 2026-11-30
        f"and created_at > to_timestamp({since:f})"
    )
    return int((sql(stack, query) or ["0"])[0])


def crashes(stack: Stack, since: float) -> dict[str, int]:
    """Errors that have ended a worker since then, by class."""
    log = stack.host.run(f"grep -h 'Unrecoverable error' /var/log/{APP}/{APP}-worker-*.log*").stdout
    found: Counter[str] = Counter()
    for line in log.splitlines():
        try:
            entry = json.loads(line)
            when = time.strptime(str(entry["time"]).partition(",")[0], "%Y-%m-%d %H:%M:%S")
        except (ValueError, KeyError):
            continue
        # The application's time zone is UTC.
        if time.mktime(when) - time.timezone >= since:
            text = re.search(r"Unrecoverable error: (?:\w+[.:])*(\w+)", line)
            found[text[1] if text else "unknown"] += 1
    return dict(found)


def leftovers(stack: Stack, dead_holders: list[str]) -> list[str]:
    """What nobody uses any more and nobody has removed."""
    found = [f"holder {holder}" for holder in dead_holders]
    # The file stays; it is empty while nobody has the lock.
    if holder := stack.host.run(f"cat {LOCK}").stdout.strip():
        found.append(f"lock of {holder}")
    found += [f"generation {name}" for name in sorted(generations(stack) - {live(stack)})]
    supervisor = stack.host.check_output("systemctl show --property MainPID --value supervisor")
    for command, processes in roots(stack).items():
        found += [f"orphan {pid}: {command}" for pid, parent in processes if parent != int(supervisor)]
        if len(processes) > 1:
            found.append(f"{len(processes)} times: {command}")
    return found
