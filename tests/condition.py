"""Whether a deployed stack is whole: nothing that a test broke may be left for the next one."""

import time

from generations import live
from injection import TABLE
from stack import APP, Stack
from traffic import QUEUES

#: What systemd runs of the stack.
UNITS = ("redis-server", "postgresql@15-main", "supervisor", "nginx")


def ailments(stack: Stack) -> list[str]:
    """What is wrong; [] when every program runs, the site is ready and every queue is worked on."""
    found = [
        f"{unit} is {state}"
        for unit, state in zip(
            UNITS, stack.host.run(f"systemctl is-active {' '.join(UNITS)}").stdout.split(), strict=False
        )
        if state != "active"
    ]
    programs = stack.programs()
    found += [f"{name} is {state}" for name, state in programs.items() if state != "RUNNING"]
    if not {f"{APP}-worker-{queue}.{live(stack)}" for queue in QUEUES} <= programs.keys():
        found.append(f"no worker for each queue: {sorted(programs)}")
    status, text = readiness(stack)
    return found if status == 200 else [*found, f"/readyz: {status} {text}"]


# Nginx knows the site by the name in the handshake; that the address has another one is no matter here.
_READINESS = """
import http.client, socket, ssl
site = http.client.HTTPConnection("DOMAIN", timeout=10)
try:
    plain = socket.create_connection(("127.0.0.1", 443), timeout=10)
    site.sock = ssl._create_unverified_context().wrap_socket(plain, server_hostname="DOMAIN")
    site.request("GET", "/readyz")
    answer = site.getresponse()
    print(answer.status, answer.read().decode())
except OSError as error:
    print(0, error)
"""


def readiness(stack: Stack) -> tuple[int, str]:
    """What the server itself, and nobody else, is told at /readyz; status 0: no answer."""
    answer = stack.host.check_output("python3 -c %s", _READINESS.replace("DOMAIN", stack.domain))
    status, _, text = answer.partition(" ")
    return int(status), text.strip()


# Sent to each queue; a worker that answers ping and takes nothing from its queue is not healthy.
_WORKS = """
from celery.exceptions import TimeoutError
from shop.celery import app

sent = {queue: app.send_task("diagnostics.tasks.whoami", queue=queue) for queue in arguments["queues"]}
silent = []
for queue, result in sent.items():
    try:
        result.get(timeout=arguments["seconds"])
    except TimeoutError:
        silent.append(queue)
print(json.dumps(silent))
"""


def wait_until_healthy(stack: Stack, seconds: float) -> None:
    """AssertionError, with what is wrong, if it is not by then."""
    deadline = time.monotonic() + seconds
    while found := ailments(stack):
        assert time.monotonic() < deadline, f"after {seconds:g} s: {found}"
        time.sleep(0.5)
    silent = stack.python(_WORKS, {"queues": QUEUES, "seconds": max(5.0, deadline - time.monotonic())})
    assert silent == [], f"nobody works on {silent}"


# What a row has left must not be counted, or waited for, in the next one.
_EMPTY = """
left = {}
for key in [*arguments["queues"], *server.keys("*unacked*"), *server.keys("*\\x06\\x16*")]:
    size = {"list": server.llen, "hash": server.hlen}.get(server.type(key))
    if size and size(key):
        left[key] = size(key)
    server.delete(key)
print(json.dumps(left))
"""


def empty(stack: Stack) -> dict[str, int]:
    """Throws away all messages; returns how many there were, by key."""
    left: dict[str, int] = stack.redis(_EMPTY, {"queues": QUEUES})
    return left


def restore(stack: Stack) -> None:
    """Waits until the stack is healthy; where it does not heal, it is started anew, and that is an error."""
    try:
        wait_until_healthy(stack, 90)
    except AssertionError:
        # The next row needs whole ground; this one has failed.
        stack.host.run(f"nft delete table {TABLE}")
        stack.host.run("systemctl daemon-reload")
        stack.host.run(f"systemctl restart {' '.join(unit for unit in UNITS if unit != 'supervisor')}")
        stack.host.run("supervisorctl stop all; systemctl restart supervisor")
        wait_until_healthy(stack, 120)
        empty(stack)
        raise
    empty(stack)
