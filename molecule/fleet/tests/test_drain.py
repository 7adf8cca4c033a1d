"""A worker server leaves without a task lost, and comes back; what would take more away is refused."""

from collections.abc import Iterator

import pytest

from fleet import consumers, server
from interruption import Playbooks
from stack import Stack, wait_for
from traffic import Producer, ended, start_long_task


def test_without_a_limit_it_is_refused(play: Playbooks) -> None:
    run = play.start("drain")
    assert run.wait() != 0
    run.says("say --limit HOST")


def test_a_server_that_is_for_something_else_is_refused(play: Playbooks) -> None:
    run = play.start("drain", limit="web12,worker13")
    assert run.wait() != 0
    run.says("web12 is not in the group workers")


@pytest.fixture(scope="module")
def drained(stack: Stack, play: Playbooks) -> Iterator[None]:
    """Worker13 is drained while tasks are published and one of its own runs for longer."""
    with Producer(stack) as producer:
        tasks = [start_long_task(stack, seconds=40) for _ in range(3)]
        mine = [task for task in tasks if task.node.endswith("@worker13")]
        play.run("drain", limit="worker13")
        assert consumers(stack) == {"worker12"}
    assert mine, "none of three tasks at a time was on worker13"
    for task in tasks:
        assert ended(stack, task).node == task.node
    account = producer.account()
    assert account.complete, account
    yield
    play.run("deploy")
    wait_for(lambda: consumers(stack) == {"worker12", "worker13"}, 30, "both servers work again")


@pytest.mark.usefixtures("drained")
def test_nothing_is_left_that_a_reboot_would_start() -> None:
    host = server("worker13")
    assert host.check_output("supervisorctl status || :") == ""
    assert host.run("ls /etc/supervisor/conf.d/shop*").rc != 0


@pytest.mark.usefixtures("drained")
def test_a_second_time_there_is_nothing_to_do(play: Playbooks) -> None:
    assert play.run("drain", limit="worker13").figures["changed"] == 0


@pytest.mark.usefixtures("drained")
def test_the_last_consumer_of_a_queue_is_refused(stack: Stack, play: Playbooks) -> None:
    run = play.start("drain", limit="worker12")
    assert run.wait() != 0
    run.says("worker12: no worker of another host consumes the queue critical")
    assert consumers(stack) == {"worker12"}


@pytest.mark.usefixtures("drained")
def test_it_can_be_rebooted_meanwhile(play: Playbooks) -> None:
    play.run("reboot", limit="worker13")


@pytest.mark.usefixtures("drained")
def test_a_run_that_is_limited_to_a_new_server_is_enough(stack: Stack, play: Playbooks) -> None:
    server("worker13").check_output(
        "rm /usr/local/share/ca-certificates/rootstock-*.crt && update-ca-certificates --fresh"
    )
    play.run("site", limit="worker13")
    wait_for(lambda: consumers(stack) == {"worker12", "worker13"}, 30, "both servers work")
