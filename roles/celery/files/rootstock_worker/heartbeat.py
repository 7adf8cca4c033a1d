"""Proof that a worker consumes, in a file that the watchdog of the host reads.

A worker that answers a ping may consume nothing: ping goes through another connection. What proves it is the
broker's answer to the wait for a message, which comes after four seconds when no message does, and a running
event loop, or no room for another task. Times are those of CLOCK_MONOTONIC, which all processes of a host
share and which no change of the clock moves.
"""

# Celery has no types.
# mypy: disable-error-code="misc"

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from celery.worker.consumer.tasks import Tasks

from rootstock_worker.taking import State

#: Seconds between two writes, and between two signs of life of the event loop.
INTERVAL = 2.0


class Heartbeat:
    """What is known of this worker."""

    def __init__(self, path: Path, expected: list[str]) -> None:
        self.path = path
        self.expected = expected
        self.consumer: Any = None
        self.connected = False
        self.stopping = False
        #: time.monotonic() of the event loop's last turn.
        self.loop: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def facts(self) -> dict[str, Any]:
        """What is written: docs/watchdog.md."""
        tasks = getattr(self.consumer, "task_consumer", None)
        connection = getattr(self.consumer, "connection", None)
        return {
            "pid": os.getpid(),
            "written": time.monotonic(),
            "loop": self.loop,
            "polled": State.polled,
            "free": bool(tasks and tasks.channel.qos.can_consume()),
            "connected": self.connected,
            "stopping": self.stopping,
            "queues": sorted(queue.name for queue in tasks.queues) if tasks else [],
            "expected": self.expected,
            "broker": [connection.hostname, connection.port] if connection and connection.hostname else None,
        }

    def write(self) -> None:
        """Replace the file; a disk that is full is for others to report."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            new.write_text(json.dumps(self.facts()))
            new.replace(self.path)
        except OSError:
            return

    def start(self) -> None:
        """Begin to write, once."""
        if not self._thread.is_alive():
            self._thread.start()

    def end(self) -> None:
        """Nothing to be judged any more."""
        self._ended.set()
        # A worker that ends before it consumes has not begun to write.
        if self._thread.is_alive():
            self._thread.join(INTERVAL)
        self.path.unlink(missing_ok=True)

    def turn(self) -> None:
        """The event loop has come round."""
        self.loop = time.monotonic()

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.write()


def step_of(heartbeat: Heartbeat) -> type[bootsteps.StartStopStep]:
    """Return a step of the consumer that tells the heartbeat what becomes of it."""

    class Step(bootsteps.StartStopStep):
        requires = (Tasks,)

        def start(self, consumer: Any) -> None:
            heartbeat.consumer = consumer
            heartbeat.connected = True
            heartbeat.start()

        def stop(self, consumer: Any) -> None:
            heartbeat.connected = False

        # Called at each connection: Celery clears the loop's timers when it loses one.
        def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
            heartbeat.turn()
            hub.call_repeatedly(INTERVAL, heartbeat.turn)

    return Step


def install() -> None:
    """Write the file for the worker that is being made."""
    heartbeat = Heartbeat(
        Path(os.environ["ROOTSTOCK_HEARTBEAT_FILE"]), sorted(os.environ["ROOTSTOCK_QUEUES"].split(","))
    )

    def on_init(sender: Any, **_: object) -> None:
        sender.app.steps["consumer"].add(step_of(heartbeat))

    def on_shutting_down(**_: object) -> None:
        heartbeat.stopping = True
        heartbeat.write()

    def on_shutdown(**_: object) -> None:
        heartbeat.end()

    worker_init.connect(on_init, weak=False)
    worker_shutting_down.connect(on_shutting_down, weak=False)
    worker_shutdown.connect(on_shutdown, weak=False)
