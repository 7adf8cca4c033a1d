"""Give the running tasks of a stopping worker a limited time, then have the unfinished ones put back.

A warm shutdown (SIGTERM) waits for running tasks without a limit; Supervisor's SIGKILL at stopwaitsecs would
end it with acks_late tasks unacknowledged. Celery's own soft shutdown sleeps its whole time even when tasks
finish earlier. So ROOTSTOCK_DRAIN_SECONDS after the warm shutdown began, the cold one (SIGQUIT) is asked for,
in which Celery returns unfinished acks_late tasks to their queue. A worker that has finished before then is
gone already.

A worker whose generation is not the live one any more is stopped because another one has taken over. Nobody
waits for it, so its tasks get ROOTSTOCK_RETIRE_SECONDS, which is more than their time limit.
"""

import logging
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from celery.signals import worker_shutting_down

logger = logging.getLogger(__name__)


def seconds_of(variable: str, environment: Mapping[str, str]) -> float:
    """Return a time in seconds. Raises ValueError if it is missing or not a positive number."""
    value = environment.get(variable, "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ValueError(f"{variable} is '{value}': it must be a positive number of seconds")
    return seconds


class Budget:
    """What the worker's program says: seconds, and how to tell that another generation has taken over."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.drain = seconds_of("ROOTSTOCK_DRAIN_SECONDS", environment)
        self.retire = seconds_of("ROOTSTOCK_RETIRE_SECONDS", environment)
        self.generation = environment["ROOTSTOCK_GENERATION"]
        self.live_generation_file = Path(environment["ROOTSTOCK_LIVE_GENERATION_FILE"])

    def time_to_finish(self) -> float:
        """Return the seconds that tasks get: the longer time only if it is certain that nobody waits."""
        try:
            live = self.live_generation_file.read_text().strip()
        except OSError:
            return self.drain
        return self.drain if live in ("", self.generation) else self.retire


def end_drain(seconds: float) -> None:
    """Ask this process for the cold shutdown; runs in the timer's thread, where logging is safe."""
    logger.warning("drain: tasks unfinished after %g s, cancelling: acks_late ones are put back", seconds)
    os.kill(os.getpid(), signal.SIGQUIT)


def install() -> None:
    """Start the timer at the first warm shutdown; Celery sends the signal in the main process only."""
    # Read when the worker starts: a wrong value must not wait for the first stop to be found.
    budget = Budget(os.environ)
    begun = threading.Event()

    def on_shutting_down(how: str = "", **_: object) -> None:
        if how != "Warm" or begun.is_set():
            return
        begun.set()
        seconds = budget.time_to_finish()
        timer = threading.Timer(seconds, end_drain, [seconds])
        # Never keeps a worker alive that is done.
        timer.daemon = True
        timer.start()

    worker_shutting_down.connect(on_shutting_down, weak=False)
