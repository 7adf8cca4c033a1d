"""Beat writes down what it has sent, each time.

Left alone it does so every three minutes: one that was killed would send again whatever was due since then.
https://docs.celeryq.dev/en/stable/userguide/configuration.html#beat-sync-every
"""

from typing import Any

from celery.signals import beat_init


def write_each_time(sender: Any, **_: object) -> None:
    """An application that has set beat_sync_every knows better."""
    sender.scheduler.sync_every_tasks = sender.scheduler.sync_every_tasks or 1


def install() -> None:
    """Have it so where this process is beat."""
    beat_init.connect(write_each_time, weak=False)
