"""Rows 15, 16 and 17: what the application needs is there, and cannot be reached, or only slowly."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from condition import readiness
from injection import REDIS, WITHOUT_RUNTIME, cut_from_redis, program_settings, slow_database, worker
from stack import Stack
from traffic import QUEUES
from trial import IN_FLIGHT, Trial, sql

CUT_SECONDS = 60.0
runtime_off = pytest.mark.control("workers without rootstock_worker")


def workers(stack: Stack) -> list[str]:
    return [worker(stack, queue) for queue in QUEUES]


def cut(trial: Trial, seconds: float, at_most: float, *, restart: bool) -> None:
    stack = trial.stack
    # The publisher is a user whom the cut does not concern: it stands for another host.
    with trial.traffic(rate=5, user="nobody") as flow:
        begun = time.time()
        with cut_from_redis(stack):
            if restart:
                stack.host.check_output(f"systemctl restart {REDIS}")
            # The fault is that it lasts so long: there is nothing to wait for.
            time.sleep(max(0.0, begun + seconds - time.time()))
            assert sql(stack, done_since(flow.run, begun + 15)) == ["0"], "the workers were not cut off"
            healed = time.time()
        flow.flows_again(healed, at_most, give_up=120, backlog=True)
        flow.account(in_flight=sum(IN_FLIGHT.values()), seconds=120)


def done_since(run: str, since: float) -> str:
    return (
        "select count(*) from diagnostics_effect "  # noqa: S608 - no input, 2026-11-25
        f"where key like '{run}/%' and finished_at > to_timestamp({since:f})"
    )


@pytest.mark.row("15")
def test_cut_from_redis(trial: Trial) -> None:
    cut(trial, CUT_SECONDS, 10, restart=False)


@pytest.mark.row("15")
@runtime_off
def test_cut_from_redis_without_the_runtime(trial: Trial) -> None:
    with program_settings(trial.stack, workers(trial.stack), WITHOUT_RUNTIME):
        cut(trial, CUT_SECONDS, 10, restart=False)


@pytest.mark.row("16")
def test_cut_from_redis_which_is_restarted_meanwhile(trial: Trial) -> None:
    cut(trial, CUT_SECONDS / 2, 15, restart=True)


@pytest.mark.row("16")
@runtime_off
def test_cut_from_redis_which_is_restarted_meanwhile_without_the_runtime(trial: Trial) -> None:
    with program_settings(trial.stack, workers(trial.stack), WITHOUT_RUNTIME):
        cut(trial, CUT_SECONDS / 2, 15, restart=True)


# --- 17: a slow database


def slow(trial: Trial) -> None:
    stack = trial.stack
    # Six processes, each of which needs some seconds for a task: hardly anything is done, all is accepted.
    with slow_database(stack) as database, trial.traffic(rate=5, long_every=0) as flow:
        asset = static_file(stack)
        begun = time.time()
        database.delay(2)
        trial.within("readiness degrades", 15, begun, lambda: readiness(stack)[0] == 503)
        answers: list[tuple[int, float]] = []
        longest = 0
        while time.time() < begun + 25:
            asked = time.time()
            status = stack.get(asset).status_code
            answers.append((status, time.time() - asked))
            longest = max(longest, waiting(stack))
            time.sleep(0.5)
        trial.measure("static files that failed", sum(s != 200 for s, _ in answers), at_most=0)
        trial.measure("slowest static file", max(seconds for _, seconds in answers), "s", at_most=1)
        # Nothing but what was published waits: no retries on top, no heap of periodic tasks.
        published = len(flow.producer.ledger().attempted)
        trial.measure("messages waiting at most", longest)
        trial.measure("more messages than tasks", max(0, longest - published - 10), at_most=0)
        database.delay(0)
        healed = time.time()
        trial.within("ready again", 15, healed, lambda: readiness(stack)[0] == 200)
        flow.flows_again(healed, 30, give_up=90, backlog=True)
        flow.account()


@pytest.mark.row("17")
def test_the_database_is_slow(trial: Trial) -> None:
    slow(trial)


@contextmanager
def static_files_by_the_application(stack: Stack) -> Iterator[None]:
    """Nginx asks the application for them as for everything else."""
    site = stack.host.check_output("grep -lr 'location ~ ^/static/' /etc/nginx").strip()
    reload = "nginx -t -q && systemctl reload nginx"
    away = "s|location ~ ^/static/|location ~ ^/elsewhere/|"
    stack.host.check_output(f"cp -p {site} /run/faults-site && sed -i '{away}' {site} && {reload}")
    try:
        yield
    finally:
        stack.host.check_output(f"cp -p /run/faults-site {site} && rm /run/faults-site && {reload}")


@pytest.mark.row("17")
@pytest.mark.control("static files by the application")
def test_the_database_is_slow_and_static_files_are_the_applications(trial: Trial) -> None:
    with static_files_by_the_application(trial.stack):
        slow(trial)


def static_file(stack: Stack) -> str:
    """A static file that a page names."""
    page = stack.get("/").text
    return page.split('href="/static/', 1)[1].split('"', 1)[0].join(("/static/", ""))


def waiting(stack: Stack) -> int:
    """How many messages wait in the queues."""
    code = (
        "from shop.celery import app\n"
        "with app.connection_for_read() as broker:\n"
        "    channel = broker.default_channel\n"
        "    print(sum(channel._size(queue) for queue in arguments['queues']))"
    )
    return int(stack.python(code, {"queues": QUEUES}))
