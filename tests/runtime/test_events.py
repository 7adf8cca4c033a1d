"""Listeners receive the events of every task, although a worker's event loop does not wait for Redis."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from conftest import Broker, Stage, wait_for

LISTEN = """
import collections, json, sys, time
from victim import app
count = collections.Counter()
errors = app.connection_for_read().connection_errors
def hear(event):
    count[event['type']] += 1
    with open(sys.argv[1], 'w') as file:
        json.dump(count, file)
while True:
    try:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={'*': hear})
            receiver.capture(limit=None, timeout=None, wakeup=True)
    except errors:
        # As Flower does.
        time.sleep(0.1)
"""


@contextmanager
def listener(stage: Stage) -> Iterator[None]:
    """Flower's part: a process that hears events."""
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(stage.directory / "events")],
        env=stage.environment | {"VICTIM_BROKER": stage.server.url("plain-flower")},
    ) as process:
        wait_for(lambda: listens(stage), 20, "it listens")
        try:
            yield
        finally:
            process.kill()


def listens(stage: Stage) -> bool:
    clients = stage.server.client(0).client_list()
    return any(one["user"] == "plain-flower" and one["psub"] != "0" for one in clients)


def heard(stage: Stage, kind: str) -> int:
    try:
        return int(json.loads((stage.directory / "events").read_text()).get(kind, 0))
    except (FileNotFoundError, ValueError):
        return 0


def publish(stage: Stage, count: int) -> None:
    stage.python(f"from victim import record\nfor number in range({count}): record.delay('key')")


def test_every_task_is_heard_of_over_a_drain_and_a_killed_child(stage: Stage) -> None:
    with listener(stage):
        worker = stage.worker("a", concurrency=2, events=True)
        publish(stage, 500)
        wait_for(lambda: stage.done("key") > 100, 20, "it works")
        os.kill(worker.children()[0], signal.SIGKILL)
        wait_for(lambda: stage.done("key") > 250, 20, "it works on")
        worker.stop()
        stage.worker("b", concurrency=2, events=True)
        wait_for(lambda: stage.done("key") >= 500 and stage.held() == 0, 30, "all are done")
        done = stage.done("key")
        wait_for(lambda: heard(stage, "task-succeeded") >= 500, 5, "all are heard of")
        time.sleep(0.5)
        assert 500 <= heard(stage, "task-succeeded") <= done


def test_a_task_that_outlives_its_connection_is_heard_of(stage: Stage, server: Broker) -> None:
    with listener(stage):
        stage.worker(concurrency=2, events=True)
        stage.send("first_of_chain", "key")
        wait_for(lambda: heard(stage, "task-started") == 1, 15, "it is heard of")
        server.kill()
        server.start()
        wait_for(lambda: listens(stage), 20, "somebody listens again")
        stage.send("record", "after")
        wait_for(lambda: heard(stage, "task-succeeded") == 1, 20, "another task is heard of")
        (stage.directory / "effects.key").touch()
        wait_for(lambda: heard(stage, "task-succeeded") == 2, 10, "its end is heard of")


def publishes_of_events(stage: Stage, *, hardened: bool) -> int:
    """How often Redis was given events of 400 tasks."""
    worker = stage.worker(concurrency=2, events=True, hardened=hardened)
    client = stage.server.client(0)
    client.config_resetstat()
    publish(stage, 400)
    wait_for(lambda: stage.done("key") >= 400, 30, "all are done")
    wait_for(lambda: stage.held() == 0, 10, "all are acknowledged")
    asked = int(client.info("commandstats")["cmdstat_publish"]["calls"])
    worker.stop()
    stage.effects.write_text("")
    return asked


def test_events_are_published_ten_times_a_second(stage: Stage) -> None:
    begun = time.monotonic()
    hardened = publishes_of_events(stage, hardened=True)
    assert hardened < 12 * (time.monotonic() - begun) + 10
    assert hardened * 3 < publishes_of_events(stage, hardened=False)
