"""A deploy gives running tasks their time limit, a stop of the host only their pool's drain."""

from pathlib import Path

import releases
from interruption import Playbooks
from repository import defaults
from stack import Stack
from traffic import ended, start_long_task

# Less than the task needs, and than a deploy takes.
DRAIN = 5
LONG_SECONDS = 60


def test_a_task_longer_than_the_drain_survives_a_deploy(stack: Stack, play: Playbooks, sources: Path) -> None:
    pools = [{**pool, "drain": DRAIN} for pool in defaults("celery")["celery_worker_pools"]]
    play.run("deploy", {"app_source": str(releases.good(sources, "one")), "celery_worker_pools": pools})
    task = start_long_task(stack, seconds=LONG_SECONDS)
    play.run("deploy", {"app_source": str(releases.good(sources, "two")), "celery_worker_pools": pools})
    effect = ended(stack, task, LONG_SECONDS)
    assert effect.node == task.node
    assert not effect.redelivered
    assert (effect.finished - effect.started).total_seconds() >= LONG_SECONDS
