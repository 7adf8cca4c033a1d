"""What a service may still do that somebody has taken over, as systemd counts it."""

import re

import pytest
from testinfra.host import Host

from stack import APP, Stack

#: 0 is the least exposed, 10 a service without any limit. Debian's own: 1.2, 9.6, 9.6, 9.6.
EXPOSURE = {"redis-server": 1.2, "nginx": 2.5, "supervisor": 2.5, "postgresql@*-main": 2.6}


@pytest.mark.parametrize("pattern", EXPOSURE)
def test_a_service_is_no_more_exposed_than_it_must_be(host: Host, pattern: str) -> None:
    unit = host.check_output("systemctl list-units --plain --no-legend '%s.service'", pattern).split()[0]
    text = host.check_output("systemd-analyze security --no-pager %s", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)
    assert found, text
    assert float(found[1]) <= EXPOSURE[pattern]


@pytest.mark.parametrize("unit", ["nginx", "supervisor"])
def test_it_runs_with_what_is_written(host: Host, unit: str) -> None:
    """A service that was started before its drop-in was there has none of it."""
    pid = host.check_output("systemctl show -p MainPID --value %s", unit)
    status = host.check_output(f"cat /proc/{pid}/status")
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


def test_a_program_writes_where_it_may_and_nowhere_else(host: Host, stack: Stack) -> None:
    """Asked of a task: it runs where all programs run."""
    mounts = host.check_output(
        "cat /proc/$(systemctl show -p MainPID --value supervisor)/mounts"
    ).splitlines()
    modes = {line.split()[1]: line.split()[3].split(",")[0] for line in mounts}
    assert modes["/"] == "ro"
    assert modes["/srv"] == "rw"
    assert stack.send("diagnostics.tasks.whoami", queue="default")["queue"] == "default"
    assert host.file(f"/srv/{APP}/releases").user == "root"
