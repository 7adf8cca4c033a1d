"""Tasks during a change of the deployed stack: who publishes, and who counts afterwards.

with Producer(stack) as producer:
    ...  # deploy
account = producer.account()
assert account.complete, account
"""

import base64
import json
import secrets
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stack import APP, Stack, wait_for

QUEUES = ("critical", "default", "low-priority")


@dataclass(frozen=True)
class Effect:
    """One completed execution of diagnostics.tasks.record."""

    key: str
    started: datetime
    finished: datetime
    #: The Celery worker, and the process below it.
    node: str
    pid: int
    #: The message had been given to a worker before.
    redelivered: bool


@dataclass
class Ledger:
    """What a producer says that it has published."""

    run: str
    attempted: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    #: The errors of those of which nobody knows whether they were published.
    failed: dict[str, str] = field(default_factory=dict)
    #: When (seconds since 1970) each was about to be published, and to which queue.
    published: dict[str, float] = field(default_factory=dict)
    queues: dict[str, str] = field(default_factory=dict)
    #: Seconds of CPU time; None while the producer runs, or if it did not end by itself.
    cpu_seconds: float | None = None

    @classmethod
    def parse(cls, run: str, text: str) -> Self:
        """Reads the lines that traffic_producer.py writes; a last one that was cut is left out."""
        ledger = cls(run)
        for line in text.splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            match json.loads(line):
                case ["attempted", key, queue, when]:
                    ledger.attempted.append(key)
                    ledger.queues[key], ledger.published[key] = queue, when
                case ["acknowledged", key]:
                    ledger.acknowledged.append(key)
                case ["failed", key, error]:
                    ledger.failed[key] = error
                case ["stopped", seconds]:
                    ledger.cpu_seconds = seconds
                case entry:
                    raise ValueError(f"not an entry of a ledger: {entry}")
        return ledger


@dataclass(frozen=True)
class Account:
    """What became of the tasks of a ledger."""

    attempted: int
    acknowledged: int
    #: Acknowledged, and never done.
    lost: list[str]
    #: Done, and never attempted.
    unexpected: list[str]
    #: Done more than once, with all times.
    duplicated: dict[str, list[Effect]]
    #: Not acknowledged, but done: the producer was told of an error that was none.
    recovered: list[str]
    #: Done after the message had been given to a worker before: no fault in itself.
    redelivered: list[str]
    #: The errors that the producer was told.
    failed: dict[str, str]

    @property
    def complete(self) -> bool:
        """Every task could be published and was done once, and nothing else was done."""
        return not (self.lost or self.unexpected or self.duplicated or self.failed)

    def __str__(self) -> str:
        lines = [f"{self.attempted} attempted, {self.acknowledged} acknowledged"]
        for name in ("lost", "unexpected", "duplicated", "recovered", "redelivered", "failed"):
            found: Any = getattr(self, name)
            examples = dict(list(found.items())[:10]) if isinstance(found, dict) else found[:10]
            lines.append(f"{len(found)} {name}" + (f": {examples}" if found else ""))
        return "\n  ".join(lines)


def check(ledger: Ledger, effects: Iterable[Effect]) -> Account:
    """Compares what was published with what was done; both in full, when nothing waits or runs any more."""
    effects = list(effects)
    done = Counter(effect.key for effect in effects)
    attempted, acknowledged = set(ledger.attempted), set(ledger.acknowledged)
    return Account(
        attempted=len(attempted),
        acknowledged=len(acknowledged),
        lost=sorted(acknowledged - done.keys()),
        unexpected=sorted(done.keys() - attempted),
        duplicated={
            key: [effect for effect in effects if effect.key == key]
            for key, times in sorted(done.items())
            if times > 1
        },
        recovered=sorted((attempted - acknowledged) & done.keys()),
        redelivered=sorted({effect.key for effect in effects if effect.redelivered}),
        failed=ledger.failed,
    )


# A message on its way from a queue to a worker is in neither for a moment: hence twice in a row.
_SETTLE = """
import time
from shop.celery import app

def waiting(channel):
    counts = {queue: channel._size(queue) for queue in arguments["queues"]}
    # Each worker has a hash of its own.
    held = [channel.unacked_key, *channel.client.scan_iter(match=channel.unacked_key + ".*", count=1000)]
    return counts | {"not acknowledged": sum(map(channel.client.hlen, held))}

deadline, quiet = time.monotonic() + arguments["seconds"], 0
with app.connection_for_read() as broker:
    while quiet < 2 and time.monotonic() < deadline:
        counts = waiting(broker.default_channel)
        quiet = 0 if any(counts.values()) else quiet + 1
        time.sleep(0.3)
print(json.dumps({} if quiet == 2 else counts))
"""

_EFFECTS = """
from diagnostics.models import Effect
rows = Effect.objects.filter(key__startswith=arguments["prefix"]).order_by("pk")
fields = ("key", "started_at", "finished_at", "node", "pid", "redelivered")
print(json.dumps(list(rows.values_list(*fields)), default=str))
"""


def settle(stack: Stack, seconds: float = 180) -> dict[str, int]:
    """Waits until no message waits and no worker holds one; returns those left after the given seconds."""
    # A worker may look for what other workers hold; the application may not.
    left: dict[str, int] = stack.python(_SETTLE, {"queues": QUEUES, "seconds": seconds}, "WORKER")
    return left


def effects(stack: Stack, prefix: str) -> list[Effect]:
    """The executions of the tasks whose key begins so, in the order of their end."""
    rows = stack.python(_EFFECTS, {"prefix": prefix})
    return [
        Effect(key, datetime.fromisoformat(started), datetime.fromisoformat(finished), node, pid, redelivered)
        for key, started, finished, node, pid, redelivered in rows
    ]


class Producer:
    """Publishes diagnostics.tasks.record to all queues at a fixed rate, as a context manager.

    It is a process on the server, in a copy of the release that is live at its start: no deploy takes its
    code away, and only its own end stops it. Where nothing is deployed meanwhile the release itself will do
    (`in_place`). One task in `long_every` takes some seconds; 0: none does.
    """

    def __init__(
        self,
        stack: Stack,
        rate: float = 11,
        queues: Sequence[str] = QUEUES,
        *,
        long_every: int = 40,
        in_place: bool = False,
        user: str = APP,
    ) -> None:
        self.run = secrets.token_hex(4)
        self._stack = stack
        self._rate = rate
        self._queues = queues
        self._long_every = long_every
        self._in_place = in_place
        self._user = user
        self._unit = f"traffic-{self.run}"
        self._home = f"/var/tmp/{self._unit}"  # noqa: S108 - on the server, with a name nobody can guess, 2026-11-23
        self._stopped: Ledger | None = None

    def __enter__(self) -> Self:
        home, host = self._home, self._stack.host
        program = base64.b64encode((Path(__file__).parent / "traffic_producer.py").read_bytes()).decode()
        # Followed links: the virtual environment may be shared by releases, and goes when the last one goes.
        copy = (
            f"cp -a /srv/{APP}/current/. {home}/release && if [ -L {home}/release/.venv ]; then "
            f"rm {home}/release/.venv && cp -a /srv/{APP}/current/.venv/. {home}/release/.venv; fi"
        )
        link = f"ln -s $(readlink -f /srv/{APP}/current) {home}/release"
        host.check_output(
            f"install -d -m 0755 {home} && install -d -o {self._user} {home}/ledger && "
            f"{link if self._in_place else copy} && echo {program} | base64 -d >{home}/producer.py"
        )
        arguments = [
            self.run,
            f"{self._rate:g}",
            f"{self._long_every}",
            ",".join(self._queues),
            f"{home}/ledger/ledger",
        ]
        host.check_output(
            f"systemd-run --quiet --collect --unit {self._unit} --uid {self._user} --gid {APP} "
            f"--working-directory {home}/release --setenv PYTHONPATH={home}/release "
            f"/usr/local/lib/rootstock/with-env /etc/{APP}/app.env -- "
            f"{home}/release/.venv/bin/python {home}/producer.py {shlex.join(arguments)}"
        )
        wait_for(lambda: self.ledger().acknowledged, 30, f"{self._unit} publishes")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def ledger(self) -> Ledger:
        """What it has published so far."""
        text = self._stack.host.run(f"cat {self._home}/ledger/ledger").stdout
        return self._stopped or Ledger.parse(self.run, text)

    def stop(self) -> Ledger:
        """Stops publishing, and returns the whole ledger. AssertionError if it had ended before."""
        if self._stopped is None:
            self._stack.host.run(f"systemctl stop {self._unit}")
            self._stopped = self.ledger()
            journal = self._stack.host.run(f"journalctl --unit {self._unit} --lines 20 --output cat").stdout
            self._stack.host.check_output(f"rm -rf {self._home}")
            assert self._stopped.cpu_seconds is not None, f"the producer had ended too early:\n{journal}"
        return self._stopped

    def account(self, seconds: float = 180) -> Account:
        """Stops, waits until all is done (AssertionError after the given seconds), and compares."""
        ledger = self.stop()
        left = settle(self._stack, seconds)
        account = check(ledger, effects(self._stack, f"{self.run}/"))
        assert not left, f"messages are left after {seconds:g} s: {left}. So far: {account}"
        return account


def publishing(producer: Producer, tasks: int = 100) -> None:
    """Wait until that many more are acknowledged."""
    before = len(producer.ledger().acknowledged)
    wait_for(lambda: len(producer.ledger().acknowledged) >= before + tasks, 60, "it publishes")


# Returns once a worker runs it: published later, it could be the new generation's.
_START = """
import time
from shop.celery import app

queue, limit = arguments["queue"], arguments["limit"]
sent = app.send_task("diagnostics.tasks.record", arguments["task"], queue=queue)
deadline, node = time.monotonic() + limit, None
while node is None:
    assert time.monotonic() < deadline, "no worker has begun it"
    active = app.control.inspect(timeout=1).active() or {}
    node = next((name for name, tasks in active.items() for task in tasks if task["id"] == sent.id), None)
print(json.dumps(node))
"""


@dataclass(frozen=True)
class LongTask:
    """A task that runs: its key, and the worker that has begun it."""

    key: str
    node: str


def start_long_task(
    stack: Stack,
    queue: str = "default",
    seconds: float = 60,
    limit: float = 60,
    *,
    can_be_ended: bool = False,
) -> LongTask:
    """Publishes a task that takes so long; returns once a worker runs it. Fails after `limit` seconds.

    One that can be ended asks the database each second whether it was: not for tests that take that away.
    """
    key = f"long-{secrets.token_hex(4)}"
    task = [key, seconds, f"end-{key}" if can_be_ended else ""]
    return LongTask(key, str(stack.python(_START, {"task": task, "queue": queue, "limit": limit})))


def end_long_task(stack: Stack, task: LongTask) -> None:
    """Lets the task end within about a second."""
    code = "app.send_task('diagnostics.tasks.record', [arguments['key']])"
    stack.python(f"from shop.celery import app\n{code}\nprint('null')", {"key": f"end-{task.key}"})


def ended(stack: Stack, task: LongTask, limit: float = 90) -> Effect:
    """Waits for the end of the task; AssertionError if it has not ended by then, or more than once."""
    found = wait_for(lambda: effects(stack, task.key), limit, f"{task} has ended")
    assert len(found) == 1, f"{task} was done {len(found)} times: {found}"
    return found[0]
