"""A run that is killed anywhere: nobody notices, the next one converges, the one after changes nothing.

RELEASE_BOUNDARIES  how many boundaries between two tasks of the release play, evenly spread; `all`; or `5-8`
RELEASE_SEED        where the kills at random times are, to repeat them
"""

import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import releases
from generations import LOCK, files, live, release, releases_in_use, wait_until_drained
from interruption import Playbooks, Run
from prober import Prober
from repository import defaults
from stack import APP, Stack, wait_for
from traffic import Producer

BOUNDARIES = os.environ.get("RELEASE_BOUNDARIES") or "1"
SEED = os.environ.get("RELEASE_SEED") or str(secrets.randbelow(10**6))
RANDOM_KILLS = 1
FIRST_TASK = "Take the lock and look at the host"
KILLED = -9


@dataclass
class Surroundings:
    """The traffic that goes on meanwhile, and a whole deploy: what there is to cut."""

    prober: Prober
    producer: Producer
    whole: Run


@pytest.fixture(scope="module")
def traffic(stack: Stack, play: Playbooks, sources: Path) -> Iterator[Surroundings]:
    wait_until_drained(stack)
    with Prober(stack) as prober, Producer(stack) as producer:
        whole = play.run("deploy", {"app_source": str(releases.good_migration(sources, "whole"))})
        yield Surroundings(prober, producer, whole)


def boundaries(whole: Run, wanted: str) -> list[int]:
    """The numbers of the tasks after which to kill; what comes before the first one touches no host."""
    names = [task.name for task in whole.tasks]
    first = next(number for number, name in enumerate(names, 1) if FIRST_TASK in name)
    every = list(range(first, len(names)))
    if wanted == "all":
        return every
    if "-" in wanted:
        begin, end = wanted.split("-")
        return every[int(begin) - 1 : int(end)]
    step = len(every) / int(wanted)
    return [every[int((number + 0.5) * step)] for number in range(int(wanted))]


def problems(
    stack: Stack, play: Playbooks, traffic: Surroundings, source: Path, kill: Callable[[str], Run]
) -> list[str]:
    """Kill a deploy of the source, run it twice more; return what was not as it should be."""
    begun = time.time()
    killed = kill(str(source))
    last = killed.tasks[-1].name if killed.tasks else "the start"
    again = play.start("deploy", {"app_source": str(source)})
    status = again.wait()
    third = play.start("deploy", {"app_source": str(source)})
    third.wait()
    seen = traffic.prober.result(begun)
    print(f"{killed.seconds:.1f} s, {last}: {again.figures} {third.figures}")
    found = {
        "the killed run had ended before": killed.wait() != KILLED,
        f"the next run failed:\n{again.output}": status != 0,
        f"the run after it failed or changed something:\n{third.output}": third.figures.get("changed") != 0
        or third.wait() != 0,
        "the lock was not given back": stack.host.check_output(f"cat {LOCK}") != "",
        str(seen): bool(seen.failures),
    }
    return [f"killed after '{last}': {what}" for what, is_so in found.items() if is_so]


def test_killed_between_two_tasks(
    stack: Stack, play: Playbooks, sources: Path, traffic: Surroundings
) -> None:
    found: list[str] = []
    for number in boundaries(traffic.whole, BOUNDARIES):

        def kill(source: str, after: int = number) -> Run:
            run = play.start("deploy", {"app_source": source}, after=after)
            run.wait()
            return run

        source = releases.good_migration(sources, f"cut_{number}")
        found += problems(stack, play, traffic, source, kill)
    assert not found, "\n".join(found)


def test_killed_at_any_time(stack: Stack, play: Playbooks, sources: Path, traffic: Surroundings) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a place to cut, no secret, 2026-11-23
    found: list[str] = []
    for number in range(RANDOM_KILLS):
        # Counted from the end of a task: the same seconds are another place on a busier machine.
        task, seconds = chance.choice(boundaries(traffic.whole, "all")[:-5]), chance.uniform(0, 1)

        def kill(source: str, task: int = task, seconds: float = seconds) -> Run:
            run = play.start("deploy", {"app_source": source})
            wait_for(lambda: len(run.tasks) >= task, 120, f"{task} tasks have ended")
            run.kill(after=seconds)
            return run

        source = releases.good_migration(sources, f"random_{number}")
        found += problems(stack, play, traffic, source, kill)
    assert not found, "\n".join([f"RELEASE_SEED={SEED}", *found])


def test_nobody_noticed(traffic: Surroundings) -> None:
    account, seen = traffic.producer.account(), traffic.prober.result()
    assert not seen.failures, seen
    assert account.complete, account


@pytest.mark.usefixtures("traffic")
def test_nothing_is_left_of_the_killed_runs(stack: Stack) -> None:
    wait_until_drained(stack)
    assert files(stack) == [f"{APP}-single.conf", f"{APP}.{live(stack)}.conf"]
    # More releases than are kept were deployed.
    kept = set(stack.host.check_output(f"ls /srv/{APP}/releases").split())
    used = releases_in_use(stack)
    assert release(stack) in used
    assert used <= kept, "a running program's release is gone"
    assert len(kept - used) <= defaults("django_app")["django_app_releases_keep"]
