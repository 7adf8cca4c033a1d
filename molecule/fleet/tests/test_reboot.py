"""Servers are rebooted one after another, and nothing that was accepted is lost."""

import pytest

from fleet import server
from interruption import Playbooks
from stack import Stack
from traffic import Producer

STARTED = "systemctl show --property=UserspaceTimestamp --value"


@pytest.mark.parametrize(("names", "refuses"), [(["worker12", "worker13"], False), (["data12"], True)])
def test_rebooted_under_load(stack: Stack, play: Playbooks, names: list[str], refuses: bool) -> None:
    before = {name: server(name).check_output(STARTED) for name in names}
    with Producer(stack) as producer:
        play.run("reboot", limit=",".join(names))
    assert all(server(name).check_output(STARTED) != started for name, started in before.items())
    account = producer.account()
    assert (account.lost, account.unexpected, account.duplicated) == ([], [], {}), account
    assert bool(account.failed) == refuses, account
