"""Tasks whose only purpose is to be watched by the tests of a deployment (DIAGNOSTIC_TASKS=1)."""

import os
import time
from typing import Any

from celery import Task, shared_task


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
