"""Wait until each worker of this host answers and consumes exactly its queues.

Runs in the application's environment, virtual environment and release directory. Arguments: the Celery
application; the path of a pool's log with {pool} in it; a JSON object of pool to queues; the seconds to wait;
the file that is made when all is well. Exit status 1 if it is not, with the reasons on stderr.
"""

import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery.app.utils import find_app
from celery.utils.nodenames import gethostname
from kombu.exceptions import OperationalError

LOG_LINES = 20
ANSWER_SECONDS = 1.0


def active_queues(app: Any, nodes: list[str]) -> dict[str, set[str]]:
    """Return what each node that answers consumes. Raises OperationalError if the broker does not answer."""
    answers = app.control.inspect(destination=nodes, timeout=ANSWER_SECONDS).active_queues() or {}
    return {node: {queue["name"] for queue in queues} for node, queues in answers.items()}


def problems(expected: Mapping[str, set[str]], consumed: Mapping[str, set[str]]) -> dict[str, str]:
    """Return the pools that are not ready, with the reason. Both arguments: pool to queues."""
    found = {}
    for pool, queues in expected.items():
        if pool not in consumed:
            found[pool] = "does not answer"
        elif consumed[pool] != queues:
            found[pool] = f"consumes {sorted(consumed[pool])} instead of {sorted(queues)}"
    return found


def log_tail(path: Path) -> str:
    """Return the last lines of a log, or why it cannot be read."""
    try:
        with path.open(errors="replace") as log:
            return "".join(deque(log, maxlen=LOG_LINES))
    except OSError as error:
        return f"(no log: {error})\n"


def main(application: str, log: str, pools: str, seconds: str, marker: str) -> int:
    """Return the exit status: 0 when every pool is ready, 1 after the given seconds."""
    app = find_app(application)
    expected = {pool: set(queues) for pool, queues in json.loads(pools).items()}
    host = gethostname()
    deadline = time.monotonic() + float(seconds)
    while True:
        try:
            consumed = active_queues(app, [f"{pool}@{host}" for pool in expected])
            wrong = problems(expected, {node.rpartition("@")[0]: queues for node, queues in consumed.items()})
        except OperationalError as error:
            wrong = dict.fromkeys(expected, f"cannot be asked: the broker does not answer: {error}")
        if not wrong:
            break
        if time.monotonic() >= deadline:
            for pool, reason in wrong.items():
                path = Path(log.format(pool=pool))
                print(f"worker pool {pool} {reason} after {seconds} s", file=sys.stderr)
                print(f"--- the last lines of {path}\n{log_tail(path)}", file=sys.stderr)
            return 1
        time.sleep(0.2)
    for old in Path(marker).parent.glob("celery-ready-*"):
        old.unlink()
    Path(marker).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
