"""Wait until each worker of this host answers and consumes exactly its queues.

Runs in the application's environment, virtual environment and release directory. Arguments: the Celery
application; a JSON object of pool to queues; the seconds to wait; the generation, which is part of the nodes'
names. Exit status 1 if a worker is not ready, with the reasons on stderr.
"""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from celery.app.utils import find_app
from celery.utils.nodenames import gethostname
from kombu.exceptions import OperationalError

ANSWER_SECONDS = 1.0


def active_queues(app: Any, nodes: list[str]) -> dict[str, set[str]]:
    """Return what each node that answers consumes. Raises OperationalError if the broker does not answer."""
    # Without a limit it would wait for more answers than there are nodes.
    inspect = app.control.inspect(destination=nodes, timeout=ANSWER_SECONDS, limit=len(nodes))
    answers = inspect.active_queues() or {}
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


def main(application: str, pools: str, seconds: str, generation: str) -> int:
    """Return the exit status: 0 when every pool is ready, 1 after the given seconds."""
    app = find_app(application)
    expected = {pool: set(queues) for pool, queues in json.loads(pools).items()}
    host = gethostname()
    deadline = time.monotonic() + float(seconds)
    while True:
        try:
            nodes = {pool: f"{pool}.{generation}@{host}" for pool in expected}
            answers = active_queues(app, list(nodes.values()))
            wrong = problems(
                expected, {pool: answers[node] for pool, node in nodes.items() if node in answers}
            )
        except OperationalError as error:
            wrong = dict.fromkeys(expected, f"cannot be asked: the broker does not answer: {error}")
        if not wrong:
            return 0
        if time.monotonic() >= deadline:
            for pool, reason in wrong.items():
                print(f"worker pool {pool} {reason} after {seconds} s", file=sys.stderr)
            return 1
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
