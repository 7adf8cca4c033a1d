"""A Celery application without Django: what the runtime package must work with is no more than this."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, chord
from celery.signals import worker_init
from kombu import Queue

SETTINGS = {
    "broker_url": os.environ["VICTIM_BROKER"],
    "task_default_queue": "one",
    "task_queues": [Queue("one"), Queue("two")],
    "task_ignore_result": True,
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": {
        "visibility_timeout": float(os.environ.get("VICTIM_VISIBILITY_TIMEOUT", "3600")),
        "unacked_restore_interval": float(os.environ.get("VICTIM_RESTORE_INTERVAL", "1")),
        "unacked_restore_throttle": 1,
        "socket_timeout": 5.0,
        "global_keyprefix": os.environ.get("VICTIM_PREFIX", ""),
    },
    # An application's own, which is no setting of Celery's.
    "caches": {
        "default": {
            "LOCATION": ["redis://cache:not-for-all@127.0.0.1:6379/0"],
            "OPTIONS": {"password": "not-for-all"},
        }
    },
}

# An application that says nothing has Celery's default.
if os.environ.get("VICTIM_ACKS_LATE", "1"):
    SETTINGS["task_acks_late"] = True

if seconds := os.environ.get("VICTIM_TICK"):
    SETTINGS["beat_schedule"] = {
        "tick": {"task": "victim.record", "args": ["tick"], "schedule": float(seconds)}
    }

if url := os.environ.get("VICTIM_RESULTS"):
    SETTINGS |= {
        "result_backend": url,
        "task_ignore_result": False,
        "result_backend_transport_options": {"global_keyprefix": os.environ.get("VICTIM_PREFIX", "")},
    }

if tries := os.environ.get("VICTIM_PUBLISH_TRIES"):
    SETTINGS["task_publish_retry_policy"] = {"max_retries": int(tries), "interval_max": 0.1}

if count := os.environ.get("VICTIM_TASKS_PER_CHILD"):
    SETTINGS["worker_max_tasks_per_child"] = int(count)

app = Celery("victim")
# Django's way is another one inside Celery: a setting that is assigned later has no effect there.
if os.environ.get("VICTIM_NAMESPACE"):
    app.config_from_object(
        {f"CELERY_{name.upper()}": value for name, value in SETTINGS.items()}, namespace="CELERY"
    )
else:
    app.conf.update(SETTINGS)


@worker_init.connect
def end_after(**_: object) -> None:
    """Has SIGTERM come right after a step that the test names: a moment that no test could meet."""
    step = os.environ.get("VICTIM_ENDS_AFTER")
    if not step:
        return
    from celery.worker.request import Request

    from rootstock_worker.broker import QoS

    owner: Any = {"ack": QoS, "on_accepted": Request}[step]
    original = getattr(owner, step)

    def then_end(self: Any, *arguments: Any, **options: Any) -> Any:
        result = original(self, *arguments, **options)
        if step == "ack" or "short" in str(self.args):
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    setattr(owner, step, then_end)


def note(what: str, key: str) -> None:
    """Not in Redis, which some tests take away."""
    with open(os.environ["VICTIM_EFFECTS"], "a") as effects:  # noqa: PTH123 - os.PathLike would be of no use here, 2026-11-25
        effects.write(f"{what} {key}\n")


@app.task(bind=True)
def record(self: Task, key: str, seconds: float = 0) -> None:
    """Says that it has begun, takes its time, says that it is done."""
    note("begun", key)
    time.sleep(seconds)
    note("done", key)


@app.task(bind=True)
def consume(self: Task, queue: str) -> None:
    """Takes a message from a queue by itself."""
    with app.connection() as connection, connection.SimpleQueue(queue) as simple:
        simple.get(timeout=10).ack()
        note("done", queue)
        # Still connected, as a task that goes on consuming is.
        time.sleep(2)


@app.task(bind=True)
def die(self: Task, key: str) -> None:
    """Kills its process."""
    note("begun", key)
    os.kill(os.getpid(), signal.SIGKILL)


class Trouble(Exception):
    """What a task that retries by itself meets."""


def hold(key: str) -> None:
    """Say that it has begun, and go on when the test wants it."""
    note("begun", key)
    while not Path(f"{os.environ['VICTIM_EFFECTS']}.{key}").exists():
        time.sleep(0.05)


@app.task(bind=True, max_retries=5)
def retry_by_code(self: Task, key: str, argument: Any = None) -> None:
    """Asks for a retry once, when the test wants it."""
    if not self.request.retries:
        hold(key)
        if argument:
            raise self.retry(countdown=0, args=[key, 1j])
        raise self.retry(countdown=0)
    note("done", key)


@app.task(bind=True, acks_late=False, max_retries=5)
def retry_acknowledged_early(self: Task, key: str) -> None:
    """Likewise, of a task whose message is gone by then."""
    if not self.request.retries:
        hold(key)
        raise self.retry(countdown=0)
    note("done", key)


@app.task(bind=True, autoretry_for=(Trouble,), retry_backoff=False, default_retry_delay=0, max_retries=5)
def autoretry(self: Task, key: str) -> None:
    """Is retried by Celery once."""
    if not self.request.retries:
        hold(key)
        raise Trouble
    note("done", key)


@app.task(bind=True)
def replaced(self: Task, key: str) -> None:
    """Gives its place to another task, when the test wants it."""
    hold(key)
    raise self.replace(record.si(key))


@app.task(bind=True)
def first_of_chain(self: Task, key: str) -> str:
    """Ends when the test wants it; what follows it is published then."""
    hold(key)
    return key


def start_chord(key: str, count: int) -> None:
    """Publish a chord whose header ends when the test wants it."""
    chord([first_of_chain.si(key)] * count, record.si(f"{key} body")).delay()
