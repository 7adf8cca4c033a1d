"""A worker server is gone, a new one comes, and no task is lost."""

from pathlib import Path

from fleet import consumers, server, start, stop
from stack import Stack, ansible, recap, wait_for
from traffic import Producer, publishing

WORKERS = {"worker12", "worker13"}
MORE = "all: {children: {workers: {hosts: {spare12: {}}}}}\n"
#: What a server works on at the same time, which another one may do again.
AT_ONCE = 8


def test_a_worker_server_that_loses_its_power(stack: Stack) -> None:
    """What it had taken waits until it is back; then it is done."""
    with Producer(stack) as producer:
        publishing(producer)
        stop("worker13")
        publishing(producer, 300)
        start("worker13")
        wait_for(lambda: consumers(stack) == WORKERS, 90, "it works again")
        publishing(producer)
    account = producer.account()
    print(account)
    assert (account.lost, account.unexpected, account.failed) == ([], [], {}), account
    assert len(account.duplicated) <= AT_ONCE, account


def test_a_worker_server_comes_and_goes(stack: Stack, inventory: str, tmp_path: Path) -> None:
    more = tmp_path / "more.yml"
    more.write_text(MORE)
    with Producer(stack) as producer:
        figures = recap(ansible("-i", str(more), inventory=inventory).stdout)
        # The others let it in, and nothing else happens to them.
        changed = {host for host, each in figures.items() if each["changed"]}
        assert changed == {"data12", "spare12"}, figures
        wait_for(lambda: consumers(stack) == {*WORKERS, "spare12"}, 30, "it works")
        publishing(producer)
        ansible("-i", str(more), "--limit=spare12", inventory=inventory, playbook="drain")
        assert consumers(stack) == WORKERS
        ansible(inventory=inventory)
    account = producer.account()
    print(account)
    assert account.complete, account
    refused = server("spare12").run("timeout 3 bash -c '</dev/tcp/10.89.0.10/6379'")
    assert refused.rc != 0, "Redis is closed to it again"
