"""Only one run at a time changes an application."""

import getpass
import json
import socket
import time
from pathlib import Path

import pytest

import releases
from generations import LOCK, live
from interruption import Playbooks
from repository import defaults
from stack import Stack

TAKES_THE_LOCK = "Take the lock and look at the host"


def test_of_two_deploys_at_once_one_wins_and_the_other_says_who(
    stack: Stack, play: Playbooks, sources: Path
) -> None:
    before = live(stack)
    runs = [
        play.start("deploy", {"app_source": str(releases.good(sources, tag))}) for tag in ("first", "second")
    ]
    won, lost = sorted(runs, key=lambda run: run.wait() != 0)
    assert (won.wait(), lost.wait() != 0) == (0, True), won.output + lost.output
    lost.says(rf"{getpass.getuser()}@{socket.gethostname()} .*{won.process.pid}")
    reached = next(task for task in lost.tasks if TAKES_THE_LOCK in task.name)
    assert lost.tasks[-1].time - reached.time < 5
    assert live(stack) != before
    assert stack.host.check_output(f"cat {LOCK}") == ""


@pytest.fixture(scope="module")
def expires() -> float:
    """Seconds after which a lock counts as forgotten."""
    return float(defaults("generation")["generation_lock_expires"])


def hold(stack: Stack, seconds: float) -> None:
    """Lock the application as a run of another controller that began so long ago."""
    holder = {"user": "somebody", "controller": "elsewhere", "pid": 1, "started": "Mon Jan 5 10:00:00 2026"}
    note = json.dumps({**holder, "since": time.time() - seconds})
    stack.host.check_output(f"printf %s %s >{LOCK}", "%s", note)


def test_the_lock_of_another_controller_is_respected_until_it_expires(
    stack: Stack, play: Playbooks, sources: Path, expires: float
) -> None:
    source = str(releases.good(sources, "third"))
    before = live(stack)
    hold(stack, expires - 60)
    refused = play.fail("deploy", {"app_source": source})
    refused.says(r"somebody@elsewhere .*expires")
    assert live(stack) == before

    hold(stack, expires + 60)
    play.run("deploy", {"app_source": source})
    assert live(stack) != before
    assert stack.host.check_output(f"cat {LOCK}") == ""
