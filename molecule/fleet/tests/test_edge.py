"""The edge leads to both web servers, and a visitor does not notice when one of them is away."""

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fleet import server, start, stop
from generations import live
from interruption import Playbooks
from prober import Prober, Traffic
from stack import APP, Stack, wait_for

WEB = {"web12": "10.89.0.21", "web13": "10.89.0.22"}


def seen(path: str) -> dict[str, list[str]]:
    """The clients whose requests for a path have reached each web server, as its Nginx knows them."""
    return {
        name: [
            line.split()[0]
            for line in server(name).run(f"grep -F {path} /var/log/nginx/access.log").stdout.splitlines()
        ]
        for name in WEB
    }


def test_both_web_servers_hear_who_the_client_is(stack: Stack) -> None:
    path = f"/healthz?{secrets.token_hex(4)}"
    me = socket.create_connection((stack.address, 443), 5).getsockname()[0]
    for _ in range(10):
        assert stack.get(path, headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200
    clients = seen(path)
    assert {name: set(found) for name, found in clients.items()} == {key: {me} for key in WEB}, clients


def test_the_web_servers_are_the_edges_only(stack: Stack) -> None:
    """This machine is on the same network."""
    with socket.create_connection((stack.address, 443), 5):
        pass
    for address in WEB.values():
        with socket.create_connection((address, 22), 5):
            pass
        for port in (80, 443):
            with pytest.raises(TimeoutError):
                socket.create_connection((address, port), 3)


def test_a_foreign_web_server_is_refused(stack: Stack) -> None:
    """Somebody who has its address, and a certificate of his own for the name."""
    edge = server("edge12")
    trusted = f"/etc/nginx/rootstock/{APP}-upstream.crt"
    edge.check_output(
        f"cp {trusted} /root/kept.crt && cp /etc/ssl/rootstock/{APP}.crt {trusted} && systemctl restart nginx"
    )
    try:
        assert stack.get("/healthz").status_code == 502
    finally:
        edge.check_output(f"mv /root/kept.crt {trusted} && systemctl restart nginx")
    assert stack.get("/healthz").status_code == 200


@contextmanager
def visited(stack: Stack) -> Iterator[Callable[[], Traffic]]:
    """Visitors, before, during and after what is done."""
    with Prober(stack) as prober:
        wait_for(lambda: prober.result().sent > 100, 60, "requests are sent")
        yield prober.result
        sent = prober.result().sent
        wait_for(lambda: prober.result().sent > sent + 100, 60, "requests are sent")


def test_a_web_server_that_loses_its_power_is_not_missed(stack: Stack) -> None:
    """What it had begun is gone: at most a request for each that was on its way. Nothing else is."""
    with visited(stack) as result:
        stop("web13")
        wait_for(lambda: result().sent > 500, 90, "requests are sent without it")
        start("web13")
        wait_for(
            lambda: server("web13").run("systemctl is-active nginx supervisor").rc == 0, 60, "it is back"
        )
        path = f"/healthz?{secrets.token_hex(4)}"
        wait_for(
            lambda: stack.get(path).status_code == 200 and seen(path)["web13"], 60, "it gets requests again"
        )
    traffic = result()
    print(traffic)
    assert len(traffic.failures) <= 1, traffic


def test_an_application_that_is_gone_is_gone_round(stack: Stack) -> None:
    """Nginx of the web server answers 502, and the edge asks the other one where that may be."""
    other = Stack(server("web13"), stack.certificate.parent)
    program = f"{APP}-web.{live(other)}"
    with visited(stack) as result:
        other.host.check_output(f"supervisorctl stop {program}")
        wait_for(lambda: result().sent > 400, 60, "requests are sent without it")
        other.host.check_output(f"supervisorctl start {program}")
    traffic = result()
    print(traffic)
    # An order may not be sent twice: nobody knows what the first server has done with it.
    assert {(failure.status, failure.request.kind) for failure in traffic.failures} <= {(502, "order")}, (
        traffic
    )
    assert len(traffic.failures) <= 3, traffic


def test_web_servers_are_rebooted_and_nobody_notices(stack: Stack, play: Playbooks) -> None:
    with visited(stack) as result:
        play.run("reboot", limit="web12,web13")
    traffic = result()
    print(traffic)
    assert not traffic.failures, traffic
