"""What only the watchdog heals: Supervisor sees programs that run, or has given up."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from injection import program_pid, worker
from stack import Stack, wait_for
from trial import Trial

POOL = "default"


@contextmanager
def without_the_watchdog(stack: Stack, program: str) -> Iterator[None]:
    stack.host.check_output("systemctl stop rootstock-watchdog")
    try:
        yield
    finally:
        stack.host.run(f"supervisorctl signal KILL {program}")
        stack.host.check_output("systemctl start rootstock-watchdog")


def cancelled(trial: Trial, give_up: float | None = None) -> None:
    """A worker that runs, answers a ping and consumes nothing."""
    stack = trial.stack
    node = f"{POOL}.{worker(stack, POOL).split('.')[-1]}"
    code = (
        "from celery.utils.nodenames import gethostname\n"
        "from shop.celery import app\n"
        "node = arguments['node'] + '@' + gethostname()\n"
        "print(json.dumps(app.control.cancel_consumer(arguments['pool'], destination=[node], reply=True)))"
    )
    with trial.traffic() as flow:
        begun = time.time()
        assert stack.python(code, {"node": node, "pool": POOL})
        flow.flows_again(begun + 5, 90, give_up=give_up)
        flow.account(seconds=90)


@pytest.mark.row("W1")
def test_a_worker_that_does_not_consume(trial: Trial) -> None:
    cancelled(trial)


@pytest.mark.row("W1")
@pytest.mark.control("no watchdog")
def test_a_worker_that_does_not_consume_and_no_watchdog(trial: Trial) -> None:
    with without_the_watchdog(trial.stack, worker(trial.stack, POOL)):
        cancelled(trial, give_up=95)


def stopped(trial: Trial, give_up: float | None = None) -> None:
    """A worker whose processes no longer run and have not ended."""
    stack, program = trial.stack, worker(trial.stack, POOL)
    before = program_pid(stack, program)
    with trial.traffic() as flow:
        begun = time.time()
        stack.host.check_output(f"kill -{signal.SIGSTOP} {before}")
        trial.within(
            "another process",
            120,
            begun,
            lambda: program_pid(stack, program) not in (0, before),
            give_up=give_up,
        )
        flow.flows_again(begun, 130)
        flow.account(in_flight=2, seconds=90)


@pytest.mark.row("W2")
def test_a_worker_that_stands_still(trial: Trial) -> None:
    stopped(trial)


@pytest.mark.row("W2")
@pytest.mark.control("no watchdog")
def test_a_worker_that_stands_still_and_no_watchdog(trial: Trial) -> None:
    with without_the_watchdog(trial.stack, worker(trial.stack, POOL)):
        stopped(trial, give_up=125)


def given_up(trial: Trial, give_up: float | None = None) -> None:
    """A program whose cause has ended it so often that Supervisor leaves it alone."""
    stack, program = trial.stack, worker(trial.stack, POOL)
    (file,) = stack.host.check_output(f"grep -lrF '[program:{program}]' /etc/supervisor/conf.d").split()
    # As Debian's defaults do it: three short attempts, then FATAL. The environment file is what is missing.
    lines = stack.host.file(file).content_string.splitlines()
    environment = next(word for line in lines for word in line.split() if word.startswith("/etc/shop/app."))
    stack.host.check_output(f"cp -p {file} /run/faults-stanza && mv {environment} {environment}.away")
    try:
        stack.host.check_output(
            f"sed -i 's/^startretries=.*/startretries=1/' {file} && "
            f"supervisorctl reread && supervisorctl update {program}"
        )
        wait_for(lambda: stack.programs()[program] == "FATAL", 60, f"{program} is given up")
        healed = time.time()
        stack.host.check_output(f"mv {environment}.away {environment}")
        trial.within("running again", 30, healed, lambda: program_pid(stack, program), give_up=give_up)
    finally:
        stack.host.run(f"mv {environment}.away {environment}")
        stack.host.check_output(f"cp -p /run/faults-stanza {file} && rm /run/faults-stanza")
        stack.host.check_output(f"supervisorctl reread && supervisorctl update {program}")


@pytest.mark.row("W3")
def test_a_program_that_supervisor_has_given_up(trial: Trial) -> None:
    given_up(trial)


@pytest.mark.row("W3")
@pytest.mark.control("no watchdog")
def test_a_program_that_supervisor_has_given_up_and_no_watchdog(trial: Trial) -> None:
    with without_the_watchdog(trial.stack, worker(trial.stack, POOL)):
        given_up(trial, give_up=35)
