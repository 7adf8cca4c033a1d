"""Rows 46 to 48: what a worker itself publishes, holds or declares while Redis is away or full."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from injection import (
    REDIS,
    WITHOUT_RUNTIME,
    child_pids,
    kill,
    program_pid,
    program_settings,
    worker,
)
from stack import Stack, broker_setting, wait_for
from traffic import QUEUES, effects, settle
from trial import IN_FLIGHT, Trial

POOL = "default"
#: How long Redis is away or full.
SECONDS = 10
runtime_off = pytest.mark.control("workers without rootstock_worker")

_PUBLISH = """
import time
from shop.celery import app
to = {"queue": arguments["queue"], **arguments["options"]}
for task in arguments["tasks"]:
    app.send_task(arguments["task"], task, **to)
print(json.dumps(time.time()))
"""


def publish(stack: Stack, task: str, count: int, *rest: object, **options: object) -> tuple[list[str], float]:
    """Publishes tasks of the application; returns their keys, and when that was done (seconds since 1970)."""
    run = secrets.token_hex(4)
    keys = [f"{run}/{number}" for number in range(count)]
    arguments = {
        "task": f"diagnostics.tasks.{task}",
        "tasks": [(key, *rest) for key in keys],
        "queue": POOL,
        "options": options,
    }
    return keys, float(stack.python(_PUBLISH, arguments))


def account(trial: Trial, keys: list[str], *, in_flight: int, due: float = 0) -> None:
    """Waits until nothing is left, and notes what became of the tasks."""
    left = settle(trial.stack, 120)
    found = effects(trial.stack, keys[0].partition("/")[0] + "/")
    done = [effect.key for effect in found]
    trial.measure("tasks acknowledged", len(keys))
    trial.measure("lost", len(set(keys) - set(done)), at_most=0)
    trial.measure("done twice", len(done) - len(set(done)), at_most=in_flight)
    trial.measure("early", sum(effect.started.timestamp() < due for effect in found), at_most=0)
    trial.measure("left in a queue or with a worker", sum(left.values()), at_most=0)


@contextmanager
def redis_away(stack: Stack) -> Iterator[None]:
    stack.host.check_output(f"systemctl stop {REDIS}")
    try:
        yield
    finally:
        stack.host.check_output(f"systemctl start {REDIS}")


@contextmanager
def redis_full(stack: Stack) -> Iterator[None]:
    with broker_setting(stack, "maxmemory", "1mb"):
        yield


# --- 46: retries


def retried_meanwhile(trial: Trial, fault: Callable[[Stack], AbstractContextManager[None]]) -> None:
    """All of them ask for a retry while Redis cannot take it."""
    stack = trial.stack
    by_code, _ = publish(stack, "retry_by_code", 20, 8, 1)
    automatically, _ = publish(stack, "retry_automatically", 20, 5)
    with fault(stack):
        time.sleep(SECONDS)
    for keys in (by_code, automatically):
        account(trial, keys, in_flight=IN_FLIGHT[POOL])


@pytest.mark.row("46")
@pytest.mark.parametrize("fault", [redis_away, redis_full])
def test_tasks_retry_while_redis_is_away_or_full(
    trial: Trial, fault: Callable[[Stack], AbstractContextManager[None]]
) -> None:
    retried_meanwhile(trial, fault)


@pytest.mark.row("46")
@runtime_off
def test_tasks_retry_while_redis_is_away_without_the_runtime(trial: Trial) -> None:
    with program_settings(trial.stack, [worker(trial.stack, POOL)], WITHOUT_RUNTIME):
        retried_meanwhile(trial, redis_away)


# --- 47: tasks with an ETA


def taken_while_full(trial: Trial) -> None:
    """The worker stands still until Redis is full, takes them then, and is killed before their time."""
    stack, program, countdown = trial.stack, worker(trial.stack, POOL), 20
    main = program_pid(stack, program)
    stack.host.check_output(f"kill -STOP {main}")
    try:
        keys, at = publish(stack, "record", 20, countdown=countdown)
        with redis_full(stack):
            stack.host.check_output(f"kill -CONT {main}")
            wait_for(lambda: time.time() > at + SECONDS, 30, "the worker has taken them")
            if now := program_pid(stack, program):
                kill(stack, now, *child_pids(stack, now))
    finally:
        stack.host.run(f"kill -CONT {main}")
    account(trial, keys, in_flight=0, due=at + countdown - 1)


@pytest.mark.row("47")
def test_tasks_with_an_eta_taken_from_a_full_redis(trial: Trial) -> None:
    taken_while_full(trial)


@pytest.mark.row("47")
@runtime_off
def test_tasks_with_an_eta_taken_from_a_full_redis_without_the_runtime(trial: Trial) -> None:
    with program_settings(trial.stack, [worker(trial.stack, POOL)], WITHOUT_RUNTIME):
        taken_while_full(trial)


# --- 48: workers that start


def started_while_full(trial: Trial) -> None:
    stack = trial.stack
    programs = [worker(stack, queue) for queue in QUEUES]
    with trial.traffic() as flow:
        with redis_full(stack):
            stack.host.check_output(f"supervisorctl restart {' '.join(programs)}")
            pids = {program: program_pid(stack, program) for program in programs}
            time.sleep(2 * SECONDS)
            ended = [program for program in programs if program_pid(stack, program) != pids[program]]
            trial.measure("workers that ended", len(ended), at_most=0)
            relief = time.time()
        flow.flows_again(relief, 60, give_up=120, backlog=True)
        flow.account()


@pytest.mark.row("48")
def test_workers_start_while_redis_is_full(trial: Trial) -> None:
    started_while_full(trial)


@pytest.mark.row("48")
@runtime_off
def test_workers_start_while_redis_is_full_without_the_runtime(trial: Trial) -> None:
    programs = [worker(trial.stack, queue) for queue in QUEUES]
    with program_settings(trial.stack, programs, WITHOUT_RUNTIME):
        started_while_full(trial)
