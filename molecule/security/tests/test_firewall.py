"""Who comes in, seen from another host; and that nobody is locked out."""

import json
from collections.abc import Iterator

import pytest
from testinfra.host import Host

from attacker import LONG, attack
from stack import Stack, ansible, recap, wait_for

OPEN = [22, 80, 443]
PORT = 8123


def open_ports(stack: Stack, *ports: int) -> list[int]:
    """The TCP ports of the server, of these or of all, that another host reaches."""
    found: list[int] = attack("scan", address=stack.address, ports=ports)
    return found


def firewall(inventory: str, **variables: object) -> dict[str, int]:
    """Run the firewall's part of site.yml; return the figures of the server."""
    run = ansible(
        "--tags=firewall", f"--extra-vars={json.dumps(variables)}", inventory=inventory, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return recap(run.stdout)["security12"]


@pytest.fixture
def listener(host: Host) -> Iterator[None]:
    """Something that listens on all addresses of the server and is in no rule."""
    host.check_output(f"systemd-run --quiet --unit=listener python3 -m http.server {PORT}")
    yield
    host.check_output("systemctl stop listener")


def test_only_ssh_and_the_site_are_open(stack: Stack, host: Host, listener: None, inventory: str) -> None:
    wait_for(lambda: host.run(f"ss -Hltn sport = :{PORT}").stdout, 10, "it listens")
    assert open_ports(stack) == OPEN
    firewall(inventory, firewall_open_ports=[{"port": PORT, "sources": [f"{stack.address}/16"]}])
    assert open_ports(stack, *OPEN, PORT) == [*OPEN, PORT]
    firewall(inventory, firewall_open_ports=[{"port": PORT, "sources": ["192.0.2.1"]}])
    assert open_ports(stack, *OPEN, PORT) == OPEN
    assert firewall(inventory)["changed"] > 0
    assert firewall(inventory)["changed"] == 0


@LONG
def test_rules_that_lock_out_are_taken_back(stack: Stack, host: Host, inventory: str) -> None:
    before = host.check_output("nft list table inet rootstock")
    wrong = {"firewall_ssh_ports": [2222], "firewall_confirm_seconds": 30}
    extra = f"--extra-vars={json.dumps(wrong)}"
    run = ansible("--tags=firewall", extra, inventory=inventory, check=False)
    assert run.returncode != 0, run.stdout
    wait_for(lambda: host.check_output("nft list table inet rootstock") == before, 40, "the old rules")
    assert open_ports(stack, *OPEN, 2222) == OPEN
    assert "2222" not in host.check_output("cat /etc/rootstock-firewall/rules.nft"), "a boot would load them"
    assert firewall(inventory)["changed"] > 0
    assert firewall(inventory)["changed"] == 0


def test_the_tables_of_others_stay_and_so_does_this_one(host: Host) -> None:
    def tables() -> set[str]:
        return set(host.check_output("nft list tables").splitlines())

    host.check_output("nft add table inet somebody")
    host.check_output("systemctl restart rootstock-firewall")
    assert {"table inet somebody", "table inet rootstock"} <= tables()
    # Debian's own rules begin with a flush of everything.
    for verb in ("start", "reload", "restart", "stop"):
        host.check_output(f"systemctl {verb} nftables")
        assert "table inet rootstock" in tables(), verb
    assert "table inet somebody" not in tables()


def test_what_listens_is_not_closed_unasked(host: Host, listener: None, inventory: str) -> None:
    """A host that gets the firewall for the first time may do more than Rootstock knows."""
    firewall(inventory, firewall_enabled=False)
    assert host.run("nft list table inet rootstock").rc == 1
    run = ansible("--tags=firewall", inventory=inventory, check=False)
    assert run.returncode != 0
    assert f"tcp {PORT} (python3)" in run.stdout + run.stderr
    assert host.run("nft list table inet rootstock").rc == 1
    firewall(inventory, firewall_close_others=True)
    assert firewall(inventory)["changed"] == 0
