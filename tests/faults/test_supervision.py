"""Rows 3, 4, 7 and 9: who starts again what has ended, how soon, and how many of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

import generations
from generations import Watch
from injection import (
    child_pids,
    drop_in,
    kill,
    listeners,
    main_pid,
    program_pid,
    program_settings,
    roots,
    started,
    web,
)
from prober import Prober
from repository import defaults
from stack import APP, Stack, wait_for
from trial import IN_FLIGHT, Trial

BEAT = f"{APP}-beat"


# --- 3: Supervisor


def states(stack: Stack, before: int) -> set[str]:
    """The states of all programs under another Supervisor than before; none if there is none."""
    if main_pid(stack, "supervisor") in (0, before):
        return set()
    return set(stack.programs().values())


def supervisor_killed(trial: Trial) -> None:
    stack = trial.stack
    programs, before = stack.programs(), main_pid(stack, "supervisor")
    with trial.traffic(rate=10) as flow, Watch(stack, f"--full 'celery -A {APP} [b]eat'") as beat:
        begun = time.time()
        kill(stack, before)
        trial.within(
            "every program supervised again",
            10,
            begun,
            lambda: states(stack, before) == {"RUNNING"},
            give_up=70,
            at=lambda: started(stack, *generations.pids(stack).values()),
        )
        flow.flows_again(begun, 30, backlog=True)
        processes = roots(stack)
        flow.account(in_flight=sum(IN_FLIGHT.values()))
    assert stack.programs().keys() == programs.keys()
    copies = {command: len(parents) for command, parents in processes.items()}
    trial.measure("programs that run more than once", sum(count > 1 for count in copies.values()), at_most=0)
    trial.measure("processes without a supervisor", orphans(stack, processes), at_most=0)
    trial.measure("beats at a time", beat.most, at_most=1)
    assert len(copies) == len(programs), copies


def orphans(stack: Stack, processes: dict[str, list[tuple[int, int]]]) -> int:
    supervisor = main_pid(stack, "supervisor")
    return sum(parent != supervisor for found in processes.values() for _, parent in found)


@pytest.mark.row("3")
def test_supervisor_killed(trial: Trial) -> None:
    supervisor_killed(trial)


@contextmanager
def debians_supervisor_unit(stack: Stack) -> Iterator[None]:
    try:
        with drop_in(stack, "supervisor.service", "[Service]\nKillMode=process\nRestartSec=50s\n"):
            yield
    finally:
        # Orphans of the old Supervisor are nobody's any more.
        stack.host.run("systemctl stop supervisor")
        left = [pid for found in roots(stack).values() for pid, _ in found]
        if left:
            kill(stack, *left, *(child for pid in left for child in child_pids(stack, pid)))
        stack.host.check_output("systemctl start supervisor")


@pytest.mark.row("3")
@pytest.mark.control("Debian's unit: KillMode=process, RestartSec=50s")
def test_supervisor_killed_with_the_unit_of_debian(trial: Trial) -> None:
    with debians_supervisor_unit(trial.stack):
        supervisor_killed(trial)


# --- 4: beat


def beat_killed(trial: Trial) -> None:
    stack = trial.stack
    interval = stack.python("from shop.celery import app\nprint(app.conf.beat_schedule['sweep']['schedule'])")
    # The first run of a beat knows no earlier one: there would be nothing old in its file to go by.
    stack.host.check_output(f"supervisorctl restart {BEAT}")
    # Right after a tick, so that one that is sent too early can be told from the next one.
    ticks = len(generations.beats(stack, "sweep"))
    wait_for(lambda: len(generations.beats(stack, "sweep")) > ticks, interval + 5, "beat has sent a tick")
    before = program_pid(stack, BEAT)
    with Watch(stack, f"--full 'celery -A {APP} [b]eat'") as beat:
        begun = time.time()
        kill(stack, before)
        trial.within(
            "back",
            10,
            begun,
            lambda: program_pid(stack, BEAT) not in (0, before),
            give_up=30,
            at=lambda: started(stack, program_pid(stack, BEAT)),
        )
        sent = len(generations.beats(stack, "sweep"))
        wait_for(
            lambda: len(generations.beats(stack, "sweep")) >= sent + 2, 3 * interval, "beat sends ticks again"
        )
    # Counted, because lines of before may have a time of a wrong clock (row 26).
    around = generations.beats(stack, "sweep")[ticks:]
    gaps = [after - before for before, after in pairwise(around)]
    trial.measure("ticks missed", max(round(gap / interval) - 1 for gap in gaps), at_most=1)
    # Beat looks a moment before an entry is due.
    trial.measure("ticks doubled", sum(gap < 0.9 * interval for gap in gaps), at_most=0)
    trial.measure("beats at a time", beat.most, at_most=1)


@pytest.mark.row("4")
def test_beat_killed(trial: Trial) -> None:
    beat_killed(trial)


@pytest.mark.row("4")
@pytest.mark.control("autorestart=false for beat")
def test_beat_killed_that_nobody_starts_again(trial: Trial) -> None:
    with program_settings(trial.stack, [BEAT], "s/^autorestart=.*/autorestart=false/"):
        beat_killed(trial)


@pytest.mark.row("4")
@pytest.mark.control("beat without rootstock_worker")
def test_beat_killed_as_celery_is_alone(trial: Trial) -> None:
    with program_settings(trial.stack, [BEAT], "s/[^ ]*python -m rootstock_worker.run //"):
        beat_killed(trial)


# --- 7: Nginx


def answers(stack: Stack) -> bool:
    """Whether a new connection gets a page."""
    try:
        return stack.get("/healthz").status_code == 200
    except OSError:
        return False


def nginx_killed(trial: Trial) -> None:
    stack, before = trial.stack, main_pid(trial.stack, "nginx")
    with Prober(stack) as prober:
        wait_for(lambda: prober.result().sent > 40, 30, "requests are sent")
        begun = time.time()
        kill(stack, before)

        def back() -> bool:
            return main_pid(stack, "nginx") not in (0, before) and answers(stack)

        trial.within("the site answers", 3, begun, back, give_up=10)
        wait_for(lambda: prober.result(since=time.time() - 2).sent > 20, 30, "requests are sent")
    failures = [answer for answer in prober.result().failures if answer.due >= begun]
    trial.measure("requests failed", len(failures))
    trial.measure("last failed request", max((a.due - begun for a in failures), default=0), "s", at_most=3)
    master = main_pid(stack, "nginx")
    strangers = listeners(stack, 443) - {master, *child_pids(stack, master)}
    trial.measure("orphans on the port", len(strangers), at_most=0)


@pytest.mark.row("7")
def test_nginx_killed(trial: Trial) -> None:
    nginx_killed(trial)


@pytest.mark.row("7")
@pytest.mark.control("Restart=no")
def test_nginx_killed_that_nobody_starts_again(trial: Trial) -> None:
    with drop_in(trial.stack, "nginx.service", "[Service]\nRestart=no\n"):
        try:
            nginx_killed(trial)
        finally:
            trial.stack.host.check_output("systemctl start nginx")


# --- 9: Gunicorn


def gunicorn_killed(trial: Trial, *, master: bool) -> float:
    """Kills one worker of Gunicorn, or its master; returns when."""
    stack = trial.stack
    before = program_pid(stack, web(stack))
    workers = child_pids(stack, before)
    with Prober(stack) as prober:
        wait_for(lambda: prober.result().sent > 40, 30, "requests are sent")
        begun = time.time()
        kill(stack, before if master else workers[0])

        def whole() -> bool:
            now = program_pid(stack, web(stack))
            processes = child_pids(stack, now) if now else []
            return len(processes) == len(workers) and (now != before) == master

        trial.within("all processes back", 10, begun, whole, give_up=30)
        wait_for(lambda: prober.result(since=time.time() - 2).sent > 20, 30, "requests are sent")
    traffic = prober.result(since=begun - 1)
    print(traffic)
    if master:
        trial.measure("requests failed", len(traffic.failures))
        last = max((answer.due - begun for answer in traffic.failures), default=0)
        trial.measure("last failed request", last, "s", at_most=3)
    else:
        # Each thread of the process may have had one.
        trial.measure(
            "requests failed",
            len(traffic.failures),
            at_most=defaults("django_app")["django_app_gunicorn_threads"],
        )
    processes = roots(stack)
    trial.measure("orphans", orphans(stack, processes), at_most=0)
    return begun


@pytest.mark.row("9")
def test_a_process_of_gunicorn_killed(trial: Trial) -> None:
    gunicorn_killed(trial, master=False)


@pytest.mark.row("9")
def test_the_master_of_gunicorn_killed(trial: Trial) -> None:
    gunicorn_killed(trial, master=True)


@pytest.mark.row("9")
@pytest.mark.control("autorestart=false for Gunicorn")
def test_the_master_of_gunicorn_killed_that_nobody_starts_again(trial: Trial) -> None:
    with program_settings(trial.stack, [web(trial.stack)], "s/^autorestart=.*/autorestart=false/"):
        gunicorn_killed(trial, master=True)
