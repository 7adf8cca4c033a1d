"""Give the running tasks of a stopping worker a limited time, then have the unfinished ones put back.

Loaded into each worker by `celery worker -I rootstock_drain`. A warm shutdown (SIGTERM) waits for running
tasks without a limit; Supervisor's SIGKILL at stopwaitsecs would end it with acks_late tasks unacknowledged
until the visibility timeout. Celery's own soft shutdown sleeps its whole time even when tasks finish earlier.
So ROOTSTOCK_DRAIN_SECONDS after the warm shutdown began, the cold one (SIGQUIT) is asked for, in which Celery
returns unfinished acks_late tasks to their queue. A worker that has finished before then is gone already.
"""

import logging
import os
import signal
import threading
from collections.abc import Mapping

from celery.signals import worker_shutting_down

VARIABLE = "ROOTSTOCK_DRAIN_SECONDS"

logger = logging.getLogger(__name__)


def drain_seconds(environment: Mapping[str, str]) -> float:
    """Return the drain time in seconds. Raises ValueError if it is missing or not a positive number."""
    value = environment.get(VARIABLE, "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ValueError(f"{VARIABLE} is '{value}': it must be a positive number of seconds")
    return seconds


# Read when the worker starts: a wrong value must not wait for the first stop to be found.
DRAIN_SECONDS = drain_seconds(os.environ)
_begun = threading.Event()


def end_drain(seconds: float) -> None:
    """Ask this process for the cold shutdown; runs in the timer's thread, where logging is safe."""
    logger.warning("drain: tasks unfinished after %g s, cancelling: acks_late ones are put back", seconds)
    os.kill(os.getpid(), signal.SIGQUIT)


def on_shutting_down(how: str = "", **_: object) -> None:
    """Start the timer at the first warm shutdown; Celery sends the signal in the main process only."""
    if how != "Warm" or _begun.is_set():
        return
    _begun.set()
    timer = threading.Timer(DRAIN_SECONDS, end_drain, [DRAIN_SECONDS])
    # Never keeps a worker alive that is done.
    timer.daemon = True
    timer.start()


worker_shutting_down.connect(on_shutting_down)
