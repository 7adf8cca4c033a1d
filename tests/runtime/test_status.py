"""What playbooks/status.yml reads of real workers, with the rights that their user of Redis has."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import HERE, Stage, wait_for

#: Where it lies in the container of the tests is told.
SCRIPT = Path(os.environ.get("STATUS_SCRIPT", str(HERE.parents[1] / "playbooks/files/status_application.py")))


def holders(stage: Stage) -> dict[str, dict[str, Any]]:
    """By node what is told of the holders, asked as the host asks it."""
    done = subprocess.run(
        [sys.executable, "-", "victim", "{}"],
        input=SCRIPT.read_text(),
        env=stage.environment
        | {
            "VICTIM_BROKER": stage.server.url(f"{stage.users}-worker"),
            # Django's, without which no status is asked for; the application has none.
            "DJANGO_SETTINGS_MODULE": "victim",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        answers |= json.loads(line)
    return {holder["node"]: holder for holder in answers["queues"]["value"]["holders"]}


def test_a_dead_worker_is_told_with_what_it_holds(stage: Stage) -> None:
    stage.use_prefix("shop:")
    worker = stage.worker("a")
    # First, because a message with an ETA is not one of those that a process reserves.
    stage.send("record", "later", countdown=600)
    stage.send("record", "held", 30)
    wait_for(lambda: stage.begun("held") == 1 and stage.held() == 2, 15, "one runs, one waits for its ETA")
    worker.kill()
    (name,) = stage.broker.smembers("shop:rootstock.holders")
    index = f"shop:unacked_index.{name.decode()}"
    now = float(stage.broker.time()[0])
    stage.broker.zadd("shop:rootstock.holders_seen", {name: now - 70})
    first, second = stage.broker.zrange(index, 0, -1)
    stage.broker.zadd(index, {first: now - 100, second: now - 90})
    found = holders(stage)["a@test"]
    assert (found["unacknowledged"], found["task"]) == (2, "victim.record")
    assert [found["machine"]] == name.decode().split("|")[1:2]
    passed = float(stage.broker.time()[0]) - now
    for key, age in (("oldest_unacknowledged", 100), ("oldest_due", 90), ("seen", 70)):
        assert age <= found[key] <= age + passed + 1


def test_what_a_worker_without_the_package_holds_is_told_as_well(stage: Stage) -> None:
    stage.worker("a", hardened=False)
    stage.send("record", "held", 30)
    wait_for(lambda: stage.begun("held") == 1, 15, "it runs")
    assert holders(stage)[""]["unacknowledged"] == 1
