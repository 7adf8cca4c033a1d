"""What a worker tells of its configuration has no passwords in it.

Celery hides the broker's and the result backend's, and settings whose own name says that they are secret. All
others are told as they are: Django's CACHES with the password in the URL of Redis (tried with Celery 5.6.3).
Who may see a worker in Flower, or may send it a command, would read it there.
"""

import re
from collections.abc import Callable
from typing import Any

from celery.app.utils import HIDDEN_SETTINGS
from celery.worker.control import Panel

MASK = "********"
URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s@]+@")
# The remote-control commands that tell the configuration, with the older name of the one.
COMMANDS = ("conf", "dump_conf", "report")


def masked(told: Any) -> Any:
    """Return the same without passwords in URLs and in what is named like a secret, however deep."""
    if isinstance(told, str):
        return URL_PASSWORD.sub(rf"\1:{MASK}@", told)
    if isinstance(told, dict):
        return {
            name: MASK if isinstance(value, str) and HIDDEN_SETTINGS.search(str(name)) else masked(value)
            for name, value in told.items()
        }
    if isinstance(told, list | tuple):
        return [masked(value) for value in told]
    return told


def without_passwords(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a remote-control command whose answer has no passwords."""

    def answer(state: Any, **arguments: Any) -> Any:
        return masked(command(state, **arguments))

    return answer


def install() -> None:
    """Put it before the commands of this process."""
    for name in COMMANDS:
        Panel.data[name] = without_passwords(Panel.data[name])
