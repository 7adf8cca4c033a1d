"""The processes below a worker: none outlives it, and the death of one does not lose its task."""

import ctypes
import logging
import os
import signal
from typing import Any

from celery.signals import worker_init, worker_process_init

logger = logging.getLogger(__name__)

#: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
PR_SET_PDEATHSIG = 1


def die_with_parent(**_: object) -> None:
    """Ask the kernel to kill this process when its parent dies.

    A child of a killed worker would go on with its task, beside the worker to which the task was given back.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        logger.error("children outlive a worker that is killed: %s", os.strerror(ctypes.get_errno()))
    # It may have died before the kernel was asked.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def requeue_on_worker_lost(sender: Any, **_: object) -> None:
    """Have tasks that are acknowledged late put back when their process dies, where nobody has decided.

    Celery's default acknowledges them: the task is marked as failed and lost. It is not the default there
    because a task that kills its process would run for ever; here it is delivered a limited number of times.
    """
    for task in sender.app.tasks.values():
        if task.acks_late and task.reject_on_worker_lost is None:
            task.reject_on_worker_lost = True


def install() -> None:
    """Ask for both in each worker."""
    worker_process_init.connect(die_with_parent, weak=False)
    worker_init.connect(requeue_on_worker_lost, weak=False)
