"""Fills a queue, then tells when workers have taken how much of it; on a server, as the application.

Usage: load.py QUEUE COUNT SECONDS [ignored]     (tasks that sleep so long; bench/workload.py calls it)

With `ignored` nobody keeps their results. Prints "full" when no task was taken yet, then the time (monotonic,
as every process on the machine sees it) when the first one, a tenth, nine tenths and all were.
"""

import sys
import time

from celery.app.utils import find_app

TASK = "diagnostics.tasks.sleep"


def main() -> None:
    """Fill, then look until all are gone."""
    queue, count, seconds, ignored = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), len(sys.argv) > 4
    app = find_app("shop")
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(count):
            app.send_task(TASK, (seconds,), queue=queue, producer=producer, ignore_result=ignored)
    print("full", flush=True)
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        for left in (count - 1, 0.9 * count, 0.1 * count, 0):
            while channel.client.llen(queue) > left:
                time.sleep(0.02)
            print(time.monotonic(), flush=True)


if __name__ == "__main__":
    main()
