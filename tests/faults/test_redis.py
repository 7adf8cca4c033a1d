"""Rows 5 and 6: Redis ends, whatever way, while tasks are on their way and others wait."""

import time

import pytest

import backlog
from injection import REDIS, kill, main_pid
from stack import broker_setting
from trial import IN_FLIGHT, Trial


def ended_under_load(trial: Trial, *, killed: bool) -> None:
    stack = trial.stack
    backlog.publish(stack)
    with trial.traffic() as flow:
        before = main_pid(stack, REDIS)
        begun = time.time()
        if killed:
            kill(stack, before)
        else:
            stack.host.check_output(f"systemctl restart {REDIS}")
        flow.flows_again(begun, 10)
        flow.account(in_flight=sum(IN_FLIGHT.values()))
    trial.measure("lost of those that waited", backlog.lost(stack), at_most=0)
    backlog.drop(stack)
    assert main_pid(stack, REDIS) not in (0, before)


@pytest.mark.row("5")
def test_redis_killed_under_load(trial: Trial) -> None:
    ended_under_load(trial, killed=True)


@pytest.mark.row("5")
@pytest.mark.control("appendonly no")
def test_redis_killed_under_load_without_its_file(trial: Trial) -> None:
    with broker_setting(trial.stack, "appendonly", "no"):
        ended_under_load(trial, killed=True)


@pytest.mark.row("6")
def test_redis_restarted_under_load(trial: Trial) -> None:
    ended_under_load(trial, killed=False)


@pytest.mark.row("6")
@pytest.mark.control("appendonly no")
def test_redis_restarted_under_load_without_its_file(trial: Trial) -> None:
    with broker_setting(trial.stack, "appendonly", "no"):
        ended_under_load(trial, killed=False)
