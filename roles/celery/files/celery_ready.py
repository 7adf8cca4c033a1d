"""Wait until each worker of this host answers and consumes exactly its queues.

Runs in the application's environment, virtual environment and release directory. Arguments: the Celery
application; a JSON object of pool to queues; the seconds to wait; the generation, which is part of the nodes'
names. Exit status 1 if a worker is not ready, with the reasons on stderr. A command that Redis refuses to the
application's user is a reason at once, because waiting grants no rights.
"""

import json
import re
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


def refusal(error: BaseException | None, user: str) -> str:
    """Return which right a user of Redis lacks, and what grants it; empty for any other error."""
    # By its name: an application whose broker is no Redis may lack the package. kombu wraps some errors.
    while error is not None and type(error).__name__ != "NoPermissionError":
        error = error.__cause__ or error.__context__
    if error is None:
        return ""
    if command := re.search(r"run the '([^']+)' command", str(error)):
        rule, what = f"+{command[1]}", f"the command {command[1].upper()}"
    elif "channel" in str(error):
        rule, what = "&CHANNEL", "a channel"
    else:
        rule, what = "~KEY", "a key"
    return (
        f"app_redis_rules lacks {rule}: Redis refuses {what} to its user {user}. "
        f'Fix: write app_redis_rules: ["{rule}"] into the inventory, then type make site '
        "(docs/tasks/redis-rights.md)."
    )


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
        except Exception as error:
            if reason := refusal(error, app.connection_for_write().userid or "default"):
                print(reason, file=sys.stderr)
                return 1
            if not isinstance(error, OperationalError):
                raise
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
