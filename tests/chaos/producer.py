"""Publishes tasks of all kinds at a fixed rate until it gets TERM: see Workload in workload.py.

Runs on the server as a unit that starts again after a reboot, in the application's release and environment.
Arguments: the run that all keys begin with; the seed; tasks per second; the file of the ledger. Each line of
the ledger is a JSON array that begins with one of
    attempted     key, kind, queue, time, {"keys": …, "due": …, "expires": …}: written before it is published
    acknowledged  key, time: on the disk (fsync) after the broker has accepted all of its messages
    failed        key, error: published, published in part or not at all, nobody knows
    stopped       the last line
Times are seconds since 1970.
"""

# The application's environment has these.
# mypy: disable-error-code="import-not-found"

import json
import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import django

QUEUES = ("critical", "default", "low-priority")
#: How often each kind is published, of 100.
SHARES = {
    "short": 35.0,
    "medium": 1.0,
    "cpu": 3.0,
    "eta": 12.0,
    "priority": 10.0,
    "expires": 4.0,
    "revoked": 2.0,
    "retry": 8.0,
    "autoretry": 7.0,
    "chord": 3.0,
    "group": 4.0,
    "chain": 6.0,
    "once": 5.0,
}

#: One task in so many is long, and in this queue: two at a time would keep others waiting for minutes.
LONG_EVERY, LONG_QUEUE = 1000, "low-priority"

stopping = False


def stop(signal_number: int, frame: FrameType | None) -> None:
    """Asks the loop to end."""
    global stopping
    stopping = True


class Task:
    """A task, or several that belong together: how to publish it, and what will be seen of it."""

    def __init__(self, key: str, kind: str, queue: str, chance: random.Random) -> None:
        from celery import chain, chord, group

        from diagnostics import tasks

        def part(task: Any, name: str, *args: object, **options: object) -> Any:
            return task.si(name, *args).set(queue=queue, **options)

        steps = [f"{key}.{number}" for number in range(3)]
        self.keys, self.revoked = [key], False
        self.due: float | None = None
        self.expires: float | None = None
        match kind:
            case "short":
                self.signature = part(tasks.record, key, chance.uniform(0, 0.05))
            case "medium":
                self.signature = part(tasks.record, key, chance.uniform(2, 8))
            case "long":
                self.signature = part(tasks.record, key, chance.uniform(50, 90))
            case "cpu":
                self.signature = part(tasks.compute, key, chance.uniform(0.05, 0.3))
            case "eta":
                countdown = chance.uniform(3, 45)
                self.due = time.time() + countdown
                self.signature = part(tasks.record, key, countdown=countdown)
            case "priority":
                self.signature = part(tasks.record, key, priority=chance.randrange(10))
            case "expires":
                seconds = chance.uniform(0.5, 20)
                self.expires = time.time() + seconds
                self.signature = part(tasks.record, key, expires=seconds)
            case "revoked":
                self.revoked = True
                self.signature = part(tasks.record, key, countdown=chance.uniform(1, 20))
            case "retry":
                self.signature = part(tasks.retry_by_code, key, chance.randint(1, 3), chance.uniform(0, 5))
            case "autoretry":
                self.signature = part(tasks.retry_automatically, key, chance.randint(1, 3))
            case "chord":
                self.keys = [*steps, f"{key}.body"]
                self.signature = chord(
                    [part(tasks.record_part, step) for step in steps], part(tasks.record, f"{key}.body")
                )
            case "group":
                self.keys = steps
                self.signature = group(part(tasks.record, step) for step in steps)
            case "chain":
                self.keys = steps
                self.signature = chain(*(part(tasks.record, step) for step in steps))
            case "once":
                self.signature = part(tasks.record_once, key, chance.uniform(0, 0.3))
            case _:
                raise ValueError(f"no kind of task: {kind}")


def main(run: str, seed: str, rate: str, path: str) -> None:
    """Publishes until it is stopped. The schedule is fixed: what was held up is published right after."""
    django.setup()
    from shop.celery import app

    file = Path(path)
    # A line that a power loss has cut is none.
    lines = file.read_bytes().rpartition(b"\n") if file.exists() else (b"", b"", b"")
    file.write_bytes(lines[0] + lines[1])
    first = lines[0].count(b'["attempted"')
    chance = random.Random(f"{seed}/{first}")  # noqa: S311 - which task is published is no secret, 2026-11-30
    begun = time.monotonic()
    with file.open("a") as ledger:
        for number in count():
            while not stopping and (early := begun + number / float(rate) - time.monotonic()) > 0:
                time.sleep(early)
            if stopping:
                break
            kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
            key, queue = f"{run}/{first + number}", chance.choice(QUEUES)
            if (first + number) % LONG_EVERY == LONG_EVERY // 20:
                kind, queue = "long", LONG_QUEUE
            task = Task(key, kind, queue, chance)
            expected = {"keys": task.keys, "due": task.due, "expires": task.expires}
            note(ledger, "attempted", key, kind, queue, time.time(), expected)
            try:
                # Nothing tries again behind the ledger's back: each key is published once at most.
                sent = task.signature.apply_async(retry=False)
                if task.revoked:
                    app.control.revoke(sent.id)
            except Exception as error:  # noqa: BLE001 - whatever it is, it was not acknowledged, 2026-11-30
                note(ledger, "failed", key, f"{type(error).__name__}: {error}")
            else:
                note(ledger, "acknowledged", key, time.time())
                os.fsync(ledger.fileno())
        note(ledger, "stopped")


def note(ledger: TextIO, *entry: object) -> None:
    """Writes a line that survives the end of this process; only fsync lets it survive the machine's."""
    ledger.write(json.dumps(entry) + "\n")
    ledger.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    main(*sys.argv[1:])
