"""Publishes tasks that leave a row, at a fixed rate, until it gets TERM: see Producer in traffic.py.

Runs on the server, in the application's release and in its environment. Arguments: the run that all keys
begin with; tasks per second; one task in how many takes long (0: none); the queues, separated by commas; the
file of the ledger. Each line of the ledger is a JSON array that begins with one of
    attempted     key, queue, seconds since 1970   written before the task is published
    acknowledged  key                              on the disk (fsync) after apply_async has returned
    failed        key, error                       apply_async has raised: published or not, nobody knows
    stopped       seconds of CPU time: the last line
"""

import json
import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path
from types import FrameType

import django

LONG_SECONDS = (3.0, 10.0)
SHORT_SECONDS = (0.0, 0.05)

stopping = False


def stop(signal_number: int, frame: FrameType | None) -> None:
    """Asks the loop to end."""
    global stopping
    stopping = True


def main(run: str, rate: str, long_every: str, queues: str, path: str) -> None:
    """Publishes until it is stopped. The schedule is fixed: what was held up is published right after."""
    django.setup()
    from diagnostics.tasks import record
    from shop.celery import app

    # As in shop/wsgi.py: who waits for no result needs no connection to the results.
    app.backend_cls = "disabled://"
    names, every = queues.split(","), int(long_every)
    chance = random.Random(run)  # noqa: S311 - how long a task sleeps is no secret, 2026-11-23
    begun = time.monotonic()
    with Path(path).open("x") as ledger:
        for number in count():
            while not stopping and (early := begun + number / float(rate) - time.monotonic()) > 0:
                time.sleep(early)
            if stopping:
                break
            key, queue = f"{run}/{number}", names[number % len(names)]
            takes_long = every and (number + 1) % every == 0
            seconds = chance.uniform(*(LONG_SECONDS if takes_long else SHORT_SECONDS))
            note(ledger, "attempted", key, queue, time.time())
            try:
                # Nothing tries again behind the ledger's back: each key is published once at most.
                record.apply_async((key, round(seconds, 3)), queue=queue, retry=False)
            except Exception as error:  # noqa: BLE001 - whatever it is, it was not acknowledged, 2026-11-23
                note(ledger, "failed", key, f"{type(error).__name__}: {error}")
            else:
                note(ledger, "acknowledged", key)
                os.fsync(ledger.fileno())
        note(ledger, "stopped", round(time.process_time(), 3))


def note(ledger, *entry: object) -> None:
    """Writes a line that survives the end of this process; only fsync lets it survive the machine's."""
    ledger.write(json.dumps(entry) + "\n")
    ledger.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    main(*sys.argv[1:])
