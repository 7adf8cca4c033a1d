"""Tasks whose only purpose is to be watched by the tests of a deployment (DIAGNOSTIC_TASKS=1)."""

import os
import signal
import time
from datetime import datetime
from typing import Any

from celery import Task, shared_task
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from diagnostics.models import Effect


@shared_task(bind=True, ignore_result=False)
def whoami(self: Task) -> dict[str, Any]:
    """Who runs this: the worker's node name, its process, and the queue the message came from."""
    queue = (self.request.delivery_info or {}).get("routing_key")
    return {"hostname": self.request.hostname, "pid": os.getpid(), "queue": queue}


@shared_task(ignore_result=False)
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@shared_task(ignore_result=False)
def allocate(mebibytes: int) -> int:
    """Takes that much memory, touches every page of it, and gives it back; returns the process id."""
    memory = bytearray(mebibytes * 1024 * 1024)
    memory[:: os.sysconf("SC_PAGESIZE")] = b"x" * len(range(0, len(memory), os.sysconf("SC_PAGESIZE")))
    return os.getpid()


# A database that is away for a while is no reason to fail: tried again each second or so, for some minutes.
@shared_task(
    bind=True,
    autoretry_for=(OperationalError, InterfaceError),
    retry_backoff=1,
    retry_backoff_max=5,
    max_retries=60,
)
def record(self: Task, key: str, seconds: float = 0, until: str = "") -> None:
    """Sleeps, then leaves one row: it is written at the end, so what was cut short has left none.

    Sleeps only until there is a row of another key, if it is given one.
    """
    started_at = timezone.now()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if until and Effect.objects.filter(key=until).exists():
            break
        time.sleep(min(left, 1) if until else left)
    _leave(self, key, started_at)


# A chord counts the results of its parts.
@shared_task(
    bind=True,
    ignore_result=False,
    autoretry_for=(OperationalError, InterfaceError),
    retry_backoff=1,
    retry_backoff_max=5,
    max_retries=60,
)
def record_part(self: Task, key: str) -> str:
    """Leaves a row as part of a chord."""
    _leave(self, key, timezone.now())
    return key


@shared_task(bind=True, acks_late=False)
def record_once(self: Task, key: str, seconds: float = 0) -> None:
    """Like record, but acknowledged before it runs: at most once."""
    started_at = timezone.now()
    time.sleep(seconds)
    _leave(self, key, started_at)


@shared_task(
    bind=True,
    autoretry_for=(OperationalError, InterfaceError),
    retry_backoff=1,
    retry_backoff_max=5,
    max_retries=60,
)
def compute(self: Task, key: str, seconds: float) -> None:
    """Uses a processor for so many seconds, then leaves a row."""
    started_at, begun = timezone.now(), time.process_time()
    while time.process_time() - begun < seconds:
        pass
    _leave(self, key, started_at)


@shared_task(bind=True, max_retries=None)
def retry_by_code(self: Task, key: str, times: int, countdown: float) -> None:
    """Retries so many times with self.retry(), then leaves a row."""
    if self.request.retries < times:
        raise self.retry(countdown=countdown)
    try:
        _leave(self, key, timezone.now())
    except (OperationalError, InterfaceError) as error:
        raise self.retry(exc=error, countdown=1) from error


class NotYet(Exception):
    """The task is to be retried."""


@shared_task(
    bind=True,
    autoretry_for=(NotYet, OperationalError, InterfaceError),
    retry_backoff=1,
    retry_backoff_max=5,
    max_retries=60,
)
def retry_automatically(self: Task, key: str, times: int) -> None:
    """Is retried so many times by autoretry_for, then leaves a row."""
    if self.request.retries < times:
        raise NotYet
    _leave(self, key, timezone.now())


@shared_task(bind=True)
def end_process(self: Task, key: str) -> None:
    """Leaves a row, then ends the process that runs it, each time."""
    _leave(self, key, timezone.now())
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(task: Task, key: str, started_at: datetime) -> None:
    Effect.objects.create(
        key=key,
        started_at=started_at,
        node=task.request.hostname,
        pid=os.getpid(),
        redelivered=bool((task.request.delivery_info or {}).get("redelivered")),
    )
