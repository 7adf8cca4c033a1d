"""Deploys, a rollback and a changed variable, with requests and tasks on their way all the time.

RELEASE_DEPLOYS  how many deploys, at least two
"""

import os
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import releases
from generations import Watch, beats, generations, live, nodes, pids, release, wait_until_drained
from interruption import Playbooks, Run
from prober import Prober, Traffic
from stack import APP, PROJECT, Stack
from traffic import QUEUES, Account, Effect, LongTask, Producer, end_long_task, ended, start_long_task

DEPLOYS = int(os.environ.get("RELEASE_DEPLOYS") or 2)
# Far more than two deploys take: it is ended after the second.
LONG_SECONDS = 900
# Scheduling jitter, and what beat needs to start.
TICK_TOLERANCE = 3


@dataclass
class Series:
    """What happened, and what was seen meanwhile."""

    beat: Watch
    runs: dict[str, Run] = field(default_factory=dict)
    #: Generation and release that were live after each run.
    live: dict[str, tuple[str, str]] = field(default_factory=dict)
    interval: float = 0
    first: str = ""
    first_release: str = ""
    #: After the second deploy: whether the first generation still drained, and the releases that were kept.
    draining: bool = False
    releases: list[str] = field(default_factory=list)
    long: LongTask | None = None
    long_effect: Effect | None = None
    traffic: Traffic | None = None
    account: Account | None = None


@pytest.fixture(scope="module")
def series(stack: Stack, play: Playbooks, sources: Path) -> Series:
    """Deploys back and forth, the first one while a long task runs; a rollback; a changed pool."""
    # Pages of the two name another style sheet: each must be there as long as a page names it.
    one, two = (str(releases.new_assets(sources, tag)) for tag in ("one", "two"))
    wait_until_drained(stack)
    found = Series(
        Watch(stack, f"--full 'celery -A {APP} [b]eat'"), first=live(stack), first_release=release(stack)
    )
    schedule = "from shop.celery import app\nprint(json.dumps(app.conf.beat_schedule['sweep']['schedule']))"
    found.interval = stack.python(schedule)

    def run(name: str, playbook: str, **variables: object) -> None:
        found.runs[name] = play.run(playbook, variables)
        found.live[name] = (live(stack), release(stack))

    with Prober(stack) as prober, Producer(stack) as producer, found.beat:
        found.long = start_long_task(stack, seconds=LONG_SECONDS, can_be_ended=True)
        for number in range(1, DEPLOYS + 1):
            source = (one, two)[number % 2]
            run(f"deploy {number}", "deploy", app_source=source, django_app_releases_keep=1)
            if number == 2:
                found.draining = found.first in generations(stack)
                found.releases = stack.host.check_output(f"ls /srv/{APP}/releases").split()
                end_long_task(stack, found.long)
        run("rollback", "rollback")
        run("changed pool", "site", app_source=two, celery_worker_pools=changed_pools())
        found.long_effect = ended(stack, found.long)
        found.traffic = prober.result()
        found.account = producer.account()
    return found


def changed_pools() -> list[dict[str, object]]:
    """The pools of the role's defaults, one of them with a third process."""
    defaults = yaml.safe_load((PROJECT / "roles/celery/defaults/main.yml").read_text())
    pools: list[dict[str, object]] = defaults["celery_worker_pools"]
    return [{**pool, "concurrency": 3} if pool["name"] == "default" else pool for pool in pools]


def test_no_request_failed(series: Series) -> None:
    assert series.traffic
    assert not series.traffic.failures, series.traffic
    assert series.traffic.rate >= 20, series.traffic


def test_no_task_was_lost_or_done_twice(series: Series) -> None:
    assert series.account
    assert series.account.complete, series.account
    assert series.traffic
    seconds = series.traffic.answers[-1].due - series.traffic.answers[0].due
    assert series.account.acknowledged / seconds >= 10, series.account


def test_a_task_that_ran_before_the_deploy_ended_on_the_old_generation(series: Series) -> None:
    assert series.long
    assert series.long_effect
    assert series.long_effect.node == series.long.node
    assert series.long.node.startswith(f"default.{series.first}@")
    # It would prove nothing if it had ended first.
    second = series.runs["deploy 2"]
    assert series.long_effect.finished.timestamp() > second.begun + second.seconds


def test_the_release_of_a_generation_that_drains_is_kept(series: Series) -> None:
    assert series.draining, "it would prove nothing"
    assert set(series.releases) == {
        series.first_release,
        series.live["deploy 1"][1],
        series.live["deploy 2"][1],
    }


def test_each_deploy_and_the_rollback_changed_generation_and_release(series: Series) -> None:
    names = [f"deploy {number}" for number in range(1, DEPLOYS + 1)]
    for before, after in pairwise([*names, "rollback"]):
        assert series.live[before][0] != series.live[after][0], after
        assert series.live[before][1] != series.live[after][1], after
    assert len({series.live[name][1] for name in names}) == 2
    assert series.live["rollback"][1] == series.live[f"deploy {DEPLOYS - 1}"][1]


def test_the_changed_pool_runs_with_its_processes(stack: Stack, series: Series) -> None:
    assert series.live["changed pool"][0] != series.live["rollback"][0]
    assert series.live["changed pool"][1] == series.live["rollback"][1], "another release, too"
    stats = "from shop.celery import app\nprint(json.dumps(app.control.inspect(timeout=3).stats()))"
    generation = series.live["changed pool"][0]
    processes = {
        name.split(".")[0]: node["pool"]["max-concurrency"]
        for name, node in stack.python(stats).items()
        if f".{generation}@" in name
    }
    assert processes == {"critical": 2, "default": 3, "low-priority": 2}


def test_there_was_never_more_than_one_beat(series: Series) -> None:
    assert len(series.beat.samples) > 100
    assert series.beat.most == 1
    assert series.beat.longest_absence < series.interval


def test_no_periodic_task_was_sent_twice_or_missed_beyond_one_tick(stack: Stack, series: Series) -> None:
    ticks = [when for when in beats(stack, "sweep") if series.beat.begun <= when <= series.beat.ended]
    gaps = [after - before for before, after in pairwise(ticks)]
    assert len(gaps) > 5
    assert min(gaps) > series.interval / 2, f"sent twice: {ticks}"
    assert max(gaps) < 2 * series.interval + TICK_TOLERANCE, f"missed: {ticks}"


def test_the_same_deploy_again_changes_nothing_and_starts_nothing(
    stack: Stack, play: Playbooks, series: Series, sources: Path
) -> None:
    variables = {"app_source": str(sources / "assets-one")}
    play.run("deploy", variables)
    wait_until_drained(stack)
    before = (live(stack), pids(stack))
    again = play.run("deploy", variables)
    assert again.figures["changed"] == 0, again.output
    assert (live(stack), pids(stack)) == before
    assert nodes(stack) == {f"{queue}.{before[0]}" for queue in QUEUES}
