"""Beat's schedule is in its file after each task, whole at every moment.

Left alone Celery writes it every three minutes, into a shelf of Python's. Debian 12's (dbm.ndbm) writes when
it is closed, so a beat that was killed sent again whatever was due since it had started.
https://docs.celeryq.dev/en/stable/userguide/configuration.html#beat-sync-every
"""

import os
import pickle
from pathlib import Path
from typing import Any

from celery.beat import PersistentScheduler
from celery.signals import beat_init
from celery.utils.log import get_logger

logger = get_logger(__name__)


class ScheduleFile(dict[str, Any]):
    """What PersistentScheduler asks of a shelf that it may also change in place."""

    def __init__(self, file: Path) -> None:
        """Read the file; an exception of any kind says that it is none of this class's."""
        kept = pickle.loads(file.read_bytes()) if file.exists() else {}  # noqa: S301 - the application's own, 2026-11-26
        super().__init__(kept)
        self.file = file

    @classmethod
    def open(cls, filename: str, writeback: bool) -> "ScheduleFile":
        """As shelve.open, as far as PersistentScheduler calls it."""
        return cls(Path(filename))

    def sync(self) -> None:
        """Put a whole new file in the place of the old one.

        A full disk must not end beat: what is due is sent all the same, and the file's age tells.
        """
        new = self.file.with_name(f".{self.file.name}.new")
        try:
            with new.open("wb") as output:
                pickle.dump(dict(self), output)
                output.flush()
                os.fsync(output.fileno())
            new.replace(self.file)
        except OSError:
            logger.exception("beat: what was sent cannot be noted in %s", self.file)

    def close(self) -> None:
        """Nothing is open; PersistentScheduler has called sync."""


def write_each_time(sender: Any, **_: object) -> None:
    """An application that has set beat_sync_every, or another scheduler, knows better."""
    if isinstance(sender.scheduler, PersistentScheduler):
        sender.scheduler.sync_every_tasks = sender.scheduler.sync_every_tasks or 1


def install() -> None:
    """Have it so where this process is beat and keeps its schedule in a file."""
    PersistentScheduler.persistence = ScheduleFile
    beat_init.connect(write_each_time, weak=False)
