"""The processes below a worker: none outlives it, and the end of one neither loses nor repeats its task."""

# Celery has no types.
# mypy: disable-error-code="misc, attr-defined"

import ctypes
import gc
import logging
import os
import signal
from typing import Any

from billiard import pool as billiard_pool
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool
from celery.signals import worker_before_create_process, worker_init, worker_process_init
from celery.worker import state

logger = logging.getLogger(__name__)

#: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
PR_SET_PDEATHSIG = 1
#: After a child has closed its pipe: for one that has done its tasks, and for any.
LOOK_AGAIN_SECONDS, LOOK_AGAIN_AT_ALL_SECONDS = (0.01, 0.1), 1.0
#: Between two looks of a child that ends whether its worker has read all its results, and how many there are
#: at most. billiard's are 0.1 s and 300: the worker mostly needs a millisecond.
RESULTS_READ_SECONDS, RESULTS_READ_LOOKS = 0.005, 6000


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


def keep_what_is_loaded(**_: object) -> None:
    """Have the garbage collector leave alone what was loaded before the first child.

    Celery collects garbage before it starts a child, and the worker gives out no task meanwhile. And what is
    looked at in a child is memory that it no longer shares: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def count_as_begun(pool: Any) -> None:
    """Have a worker that ends in order wait for what its children have been given and not yet confirmed.

    Celery forgets these tasks (AsynPool.flush: the broker will deliver them again). But the child has its
    task and does it, a moment later; nobody acknowledges it, so the next worker does it once more.
    """
    for job in tuple(pool._cache.values()):
        child = job._write_to
        if not job._accepted and child is not None and child._is_alive():
            # As Celery itself notes a confirmation; should the child die, the task is put back by its number.
            job._accepted, job._worker_pid = True, child.pid


def keep_busy(pool: Any) -> None:
    """Have nothing given to a child that still has a task.

    AsynPool.flush takes all children for idle. What is given to a busy one waits until its task has ended. As
    it counts as prefetched, the worker may take nothing else meanwhile, although another child is idle.
    """
    for job in tuple(pool._cache.values()):
        child = job._write_to
        if child is not None and child._is_alive():
            pool._busy_workers.add(child.inqW_fd)


class Pool(AsynPool):
    """Celery's pool of processes. It is told to flush when the connection is lost, too, which is no end."""

    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        """Look again a few times. Celery looks once, when the child's pipe closes, and every five seconds.

        The kernel closes the pipe a moment before it tells that the child has ended. So its place mostly
        stays empty until then, and what it was given last waits: https://github.com/celery/celery/issues/9588
        """
        super()._event_process_exit(hub, proc)
        for seconds in LOOK_AGAIN_SECONDS:
            hub.call_later(seconds, self._replace_if_done, proc)
        hub.call_later(LOOK_AGAIN_AT_ALL_SECONDS, self.maintain_pool)

    def _replace_if_done(self, proc: Any) -> None:
        """One that breaks as soon as it starts shall not do so a hundred times a second."""
        if proc.exitcode in (billiard_pool.EX_OK, billiard_pool.EX_RECYCLE):
            self.maintain_pool()

    def flush(self) -> None:
        if state.should_stop is not None:
            count_as_begun(self)
        super().flush()
        keep_busy(self)


def install() -> None:
    """Ask for all of it in each worker."""
    TaskPool.Pool = Pool
    billiard_pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL = RESULTS_READ_SECONDS
    billiard_pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = RESULTS_READ_LOOKS
    worker_process_init.connect(die_with_parent, weak=False)
    worker_init.connect(requeue_on_worker_lost, weak=False)
    worker_before_create_process.connect(keep_what_is_loaded, weak=False)
