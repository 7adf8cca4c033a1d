"""The Celery application of these tests, and, run as a program, what a user of Redis does with it.

Usage: versioned.py ACTION     (environment: VERSIONED_URL, VERSIONED_PREFIX)
"""

import os
import sys
import time
from typing import Any

from celery import Celery, Task, chain, chord, group
from celery.exceptions import ChordError, TaskRevokedError
from celery.result import AsyncResult, GroupResult
from kombu import Queue

PREFIX = {"global_keyprefix": os.environ.get("VERSIONED_PREFIX", "")}
TICK_SECONDS = 1.0
WAIT_SECONDS = 30.0

app = Celery("versioned")
app.conf.update(
    broker_url=os.environ["VERSIONED_URL"],
    result_backend=os.environ["VERSIONED_URL"],
    broker_transport_options={
        **PREFIX,
        "visibility_timeout": 1800,
        "priority_steps": [0, 5],
    },
    result_backend_transport_options=PREFIX,
    result_extended=True,
    task_acks_late=True,
    task_default_queue="one",
    task_queues=[Queue("one"), Queue("other")],
    task_send_sent_event=True,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    beat_schedule={"tick": {"task": "versioned.add", "args": [1, 1], "schedule": TICK_SECONDS}},
)


@app.task
def add(one: int, other: int) -> int:
    return one + other


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(bind=True, max_retries=1)
def again(self: Task) -> int:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@app.task(bind=True)
def becomes(self: Task, number: int) -> Any:
    """In a chord this makes the chord larger."""
    raise self.replace(group(add.s(number, 1), add.s(number, 2)))


@app.task
def hang() -> None:
    time.sleep(600)


# --- What is done as a user


def publish() -> None:
    """Publish every kind of task and read the results."""
    assert add.delay(2, 3).get(WAIT_SECONDS) == 5
    assert add.apply_async((2, 3), priority=5).get(WAIT_SECONDS) == 5
    assert add.apply_async((2, 3), countdown=1).get(WAIT_SECONDS) == 5
    assert add.apply_async((2, 3), expires=60).get(WAIT_SECONDS) == 5
    assert again.delay().get(WAIT_SECONDS) == 1
    assert chain(add.s(1, 2), add.s(3))().get(WAIT_SECONDS) == 6
    found = group(add.s(number, 1) for number in range(3))()
    assert found.get(WAIT_SECONDS) == [1, 2, 3]
    found.save()
    assert GroupResult.restore(found.id).results == found.results
    found.delete()
    found.forget()
    assert chord([add.s(number, 1) for number in range(3)])(total.s()).get(WAIT_SECONDS) == 6
    # A group in a chord's header is replaced while the chord runs.
    assert chord([becomes.s(1), add.s(1, 1)])(flat.s()).get(WAIT_SECONDS) == 7
    failing = chord([add.s(1, 1), add.s("no", 1)])(total.s())
    # The error of the task, where the version names it, else one of the chord.
    raises((TypeError, ChordError), failing)


def raises(kinds: type[Exception] | tuple[type[Exception], ...], result: AsyncResult) -> None:
    try:
        result.get(WAIT_SECONDS)
    except kinds:
        return
    raise AssertionError(f"it must be one of {kinds}")


@app.task
def flat(numbers: list[Any]) -> int:
    return sum(sum(number) if isinstance(number, list) else number for number in numbers)


def publish_hang() -> None:
    """Publish a task that is held until its worker dies."""
    hang.delay()


def control() -> None:
    """Ask and command workers, revoke a task, empty a queue."""
    inspect = app.control.inspect(timeout=3)
    for question in ("ping", "active", "active_queues", "scheduled", "reserved", "stats", "registered"):
        assert getattr(inspect, question)(), question
    waits = add.apply_async((1, 1), countdown=5)
    waits.revoke()
    raises(TaskRevokedError, waits)
    assert app.control.rate_limit("versioned.add", "100/s", reply=True)
    assert app.control.cancel_consumer("other", reply=True)
    add.apply_async((1, 1), queue="other")
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        # No kombu puts the prefix before the key of EXISTS, by which it asks whether a queue is there.
        passive = not PREFIX["global_keyprefix"]
        assert channel.queue_declare("other", passive=passive).message_count == 1
        assert channel.queue_purge("other") == 1
        channel.queue_delete("other")
    app.control.purge()


def restore() -> None:
    """Give back what an ended worker has left; a process that waits for an answer does so, whoever it is."""
    with app.connection_for_read() as connection:
        channel = connection.channel()
        channel.qos.restore_visible(interval=1)


def reconnect() -> None:
    """Publish once, wait until all connections have been cut, and read the result."""
    result = add.apply_async((2, 3), countdown=3)
    sys.stdout.write("published\n")
    sys.stdout.flush()
    sys.stdin.readline()
    assert result.get(WAIT_SECONDS) == 5


if __name__ == "__main__":
    # The module of that name has the tasks that a worker knows.
    import versioned

    getattr(versioned, sys.argv[1])()
