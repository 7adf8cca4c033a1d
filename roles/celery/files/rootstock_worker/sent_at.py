"""When a message was published, for the time that it waited in its queue.

Celery's messages do not say. Workers note it on what they publish. For web processes and beat there is a way
in as well: `python -m rootstock_worker.sent_at PROGRAM [ARG...]` runs a program of the virtual environment
with it.
"""

import sys
import time
from importlib.metadata import entry_points
from typing import Any

from celery.signals import before_task_publish

from rootstock_worker import beat

#: Header of a message: seconds since 1970.
SENT_AT = "rootstock_sent_at"


def note(headers: dict[str, Any] | None = None, **_: object) -> None:
    """A retry is published anew, and waits anew."""
    if headers is not None:
        headers[SENT_AT] = round(time.time(), 3)


def install() -> None:
    """Note it on every message that this process and its children publish."""
    before_task_publish.connect(note, weak=False)


def main() -> None:
    """Run the program in this process, under its own name."""
    install()
    beat.install()
    (program,) = entry_points(group="console_scripts", name=sys.argv[1])
    sys.argv = sys.argv[1:]
    sys.exit(program.load()())


if __name__ == "__main__":
    main()
