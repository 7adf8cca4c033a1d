"""Row 8: PostgreSQL's postmaster is killed while tasks write."""

import time

import pytest

from condition import readiness
from injection import drop_in, kill, main_pid
from trial import IN_FLIGHT, Trial, sql

UNIT = "postgresql@15-main"


def postmaster_killed(trial: Trial) -> None:
    stack = trial.stack
    with trial.traffic() as flow:
        before = main_pid(stack, UNIT)
        begun = time.time()
        kill(stack, before)
        trial.within("consistent", 15, begun, lambda: sql(stack, "select 1") == ["1"], give_up=30)
        trial.within("ready again", 15, begun, lambda: readiness(stack)[0] == 200)
        flow.flows_again(begun, 20)
        # Each retry waits five seconds at most.
        flow.account(in_flight=sum(IN_FLIGHT.values()))
    assert main_pid(stack, UNIT) not in (0, before)


@pytest.mark.row("8")
def test_the_postmaster_killed(trial: Trial) -> None:
    postmaster_killed(trial)


@pytest.mark.row("8")
@pytest.mark.control("Restart=no")
def test_the_postmaster_killed_that_nobody_starts_again(trial: Trial) -> None:
    with drop_in(trial.stack, f"{UNIT}.service", "[Service]\nRestart=no\n"):
        try:
            postmaster_killed(trial)
        finally:
            trial.stack.host.check_output(f"systemctl start {UNIT}")
