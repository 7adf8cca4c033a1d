"""Rows 25 and 26: the server is started anew, and its clock is moved."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from condition import ailments
from injection import WITHOUT_RUNTIME, program_pid, program_settings, worker
from stack import APP, Stack, wait_for
from traffic import Producer, effects, settle, start_long_task
from trial import IN_FLIGHT, Flow, Trial

BEAT = f"{APP}-beat"
POOL = "default"
HOUR = 3600


# --- 26: the clock


class Clock:
    """The clock of one program, which is wrong by so many seconds: see wrong_clock.c."""

    PATH = "/run/faults-clock"
    ENVIRONMENT = f'LD_PRELOAD="/usr/local/lib/wrong_clock.so" WRONG_CLOCK="{PATH}"'

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def wrong_by(self, seconds: int) -> None:
        told = self._stack.host.check_output(
            f"echo {seconds:+d} >{self.PATH} && env {self.ENVIRONMENT} date +%s"
        )
        assert abs(int(told) - time.time() - seconds) < 5, "the clock is not wrong"


@contextmanager
def own_clock(stack: Stack, program: str, also: str = "") -> Iterator[Clock]:
    """Gives a program a clock that can be moved while it runs; `also` changes more of its stanza."""
    clock = Clock(stack)
    clock.wrong_by(0)
    environment = clock.ENVIRONMENT.replace(" ", ",")
    with program_settings(stack, [program], f"s|^environment=|environment={environment},|; {also}"):
        yield clock
    stack.host.check_output(f"rm {clock.PATH}")


@contextmanager
def forgotten_schedule(stack: Stack) -> Iterator[None]:
    """Beat forgets afterwards when it has sent what: a time in the future would keep it silent."""
    try:
        yield
    finally:
        stack.host.check_output(
            f"supervisorctl stop {BEAT} && rm -f /srv/{APP}/shared/celerybeat-schedule* && "
            f"supervisorctl start {BEAT}"
        )


@pytest.mark.row("26")
@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
def test_the_clock_of_beat_is_moved(trial: Trial, jump: int) -> None:
    stack = trial.stack
    interval = stack.python("from shop.celery import app\nprint(app.conf.beat_schedule['sweep']['schedule'])")

    def ticks() -> int:
        # Counted: what the log says of the time is wrong.
        log = f"cat $(ls -rt /var/log/{APP}/{BEAT}.log*) | grep -c 'Sending due task sweep '"
        return int(stack.host.run(log).stdout)

    with forgotten_schedule(stack), own_clock(stack, BEAT) as clock:
        before = ticks()
        wait_for(lambda: ticks() > before, 3 * interval, "beat has sent a tick")
        clock.wrong_by(jump)
        before, begun, process = ticks(), time.time(), program_pid(stack, BEAT)
        time.sleep(3.5 * interval)
        sent, ended = ticks() - before, program_pid(stack, BEAT) != process
    due = (time.time() - begun) / interval
    # After a jump back it waits until the time of the last tick has come again, or until it is started anew.
    trial.measure("beat ended", int(ended), at_most=0)
    trial.measure("ticks", sent)
    trial.measure("more ticks than are due", max(0, sent - int(due) - 1), at_most=0)


def worker_with_another_time(trial: Trial, jump: int, also: str = "") -> None:
    stack = trial.stack
    with own_clock(stack, worker(stack, POOL), also) as clock:
        # Rows that this worker writes have its time, so the traffic leaves its queue alone.
        with trial.traffic(queues=("critical", "low-priority")) as flow:
            task = start_long_task(stack, POOL, seconds=25)
            clock.wrong_by(jump)
            begun = time.time()
            # Workers look for what nobody has acknowledged every ten seconds.
            wait_for(lambda: effects(stack, task.key), 60, "the long task has ended")
            assert time.time() - begun > 15, "too short to show anything"
            flow.account()
    found = effects(stack, task.key)
    trial.measure("done twice", len(found) - 1, at_most=0)
    trial.measure("delivered again", sum(effect.redelivered for effect in found), at_most=0)


@pytest.mark.row("26")
@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
def test_the_clock_of_a_worker_is_moved(trial: Trial, jump: int) -> None:
    worker_with_another_time(trial, jump)


@pytest.mark.row("26")
@pytest.mark.control("worker without rootstock_worker")
def test_the_clock_of_a_worker_without_the_runtime_is_moved(trial: Trial) -> None:
    worker_with_another_time(trial, HOUR, WITHOUT_RUNTIME)


# --- 25: a reboot

#: Published before it, more than the workers can do until then.
TASKS = 300


def started_anew(trial: Trial, give_up: float) -> None:
    stack = trial.stack
    name = stack.host.backend.get_hostname()
    with Producer(stack, 100, long_every=20, in_place=True) as producer:
        wait_for(lambda: len(producer.ledger().acknowledged) > TASKS, 60, "tasks wait")
        ledger = producer.stop()
    stack.host.check_output("touch /run/faults-before")
    # As a machine is switched off: systemd has its time, then all that is left is killed.
    docker("stop", "--signal", "SIGRTMIN+3", "--time", "120", name)
    begun = time.time()
    docker("start", name)
    stack.find_address()
    trial.within("all services healthy", 60, begun, lambda: not ailments(stack), give_up=give_up)
    assert not stack.host.file("/run/faults-before").exists, "it was not started anew"
    left = settle(stack, 120)
    Flow(trial, producer).note(
        ledger, effects(stack, f"{producer.run}/"), left, in_flight=sum(IN_FLIGHT.values())
    )


@pytest.mark.row("25")
@pytest.mark.last
def test_the_server_is_started_anew(trial: Trial) -> None:
    started_anew(trial, give_up=120)


@pytest.mark.row("25")
@pytest.mark.control("supervisor not enabled")
@pytest.mark.last
def test_the_server_is_started_anew_without_supervisor(trial: Trial) -> None:
    host = trial.stack.host
    host.check_output("systemctl disable supervisor")
    try:
        started_anew(trial, give_up=65)
    finally:
        host.check_output("systemctl enable --now supervisor")


def docker(*arguments: str) -> None:
    subprocess.run(["docker", *arguments], check=True, capture_output=True)
