"""Rows 5 and 6: Redis ends, whatever way, while tasks are on their way."""

import time

import pytest

from injection import REDIS, kill, main_pid
from stack import broker_setting
from trial import IN_FLIGHT, Trial


def killed_under_load(trial: Trial) -> None:
    with trial.traffic() as flow:
        before = main_pid(trial.stack, REDIS)
        begun = time.time()
        kill(trial.stack, before)
        flow.flows_again(begun, 10)
        flow.account(in_flight=sum(IN_FLIGHT.values()))
    assert main_pid(trial.stack, REDIS) not in (0, before)


@pytest.mark.row("5")
def test_redis_killed_under_load(trial: Trial) -> None:
    killed_under_load(trial)


@pytest.mark.row("5")
@pytest.mark.control("appendonly no")
def test_redis_killed_under_load_without_its_file(trial: Trial) -> None:
    with broker_setting(trial.stack, "appendonly", "no"):
        killed_under_load(trial)


@pytest.mark.row("6")
def test_redis_restarted_under_load(trial: Trial) -> None:
    with trial.traffic() as flow:
        before = main_pid(trial.stack, REDIS)
        begun = time.time()
        trial.stack.host.check_output(f"systemctl restart {REDIS}")
        flow.flows_again(begun, 10)
        flow.account(in_flight=sum(IN_FLIGHT.values()))
    assert main_pid(trial.stack, REDIS) not in (0, before)
