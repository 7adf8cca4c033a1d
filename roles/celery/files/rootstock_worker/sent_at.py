"""When a message was published, for the time that it waited in its queue.

Celery's messages do not say.
"""

import time
from typing import Any

from celery.signals import before_task_publish

#: Header of a message: seconds since 1970.
SENT_AT = "rootstock_sent_at"


def note(headers: dict[str, Any] | None = None, **_: object) -> None:
    """A retry is published anew, and waits anew."""
    if headers is not None:
        headers[SENT_AT] = round(time.time(), 3)


def install() -> None:
    """Note it on every message that this process and its children publish."""
    before_task_publish.connect(note, weak=False)
