"""Ways to break a deployed stack, and to make it good again: what is broken in a block is whole after it."""

import base64
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from generations import live
from stack import APP, Stack, wait_for

REDIS = "redis-server"
#: A change of a worker's stanza: it does not load what is ours.
WITHOUT_RUNTIME = "s/ -I rootstock_worker\\.install//"


# --- Processes: killed by their ids, which systemd and Supervisor know.


def main_pid(stack: Stack, unit: str) -> int:
    """The main process of a unit; 0 if there is none."""
    return int(stack.host.check_output(f"systemctl show --property MainPID --value {unit}"))


def child_pids(stack: Stack, pid: int) -> list[int]:
    """The processes that a process has begun."""
    return [int(child) for child in stack.host.run(f"pgrep --parent {pid}").stdout.split()]


def kill(stack: Stack, *pids: int) -> None:
    """kill -9, all at once."""
    assert pids
    assert 0 not in pids
    stack.host.check_output(f"kill -KILL {' '.join(map(str, pids))}")


def started(stack: Stack, *pids: int) -> float:
    """When (seconds since 1970) the youngest of these processes was started."""
    ticks = [
        int(stack.host.check_output(f"cat /proc/{pid}/stat").rpartition(")")[2].split()[19]) for pid in pids
    ]
    hertz = int(stack.host.check_output("getconf CLK_TCK"))
    uptime = float(stack.host.check_output("cat /proc/uptime").split()[0])
    return time.time() - uptime + max(ticks) / hertz


def program_pid(stack: Stack, program: str) -> int:
    """The process of one of Supervisor's programs; 0 while there is none."""
    found = re.search(r"\bRUNNING\s+pid (\d+),", stack.host.run(f"supervisorctl status {program}").stdout)
    return int(found[1]) if found else 0


def roots(stack: Stack) -> dict[str, list[tuple[int, int]]]:
    """The application's processes that another one of it has not begun: (id, parent) by command line."""
    # It fails where there is none.
    listed = stack.host.run(f"ps --no-headers -ww -o pid:1,ppid:1,unit:1,args:1 -u {APP}").stdout.splitlines()
    found = [line.split(maxsplit=3) for line in listed]
    ours = {int(pid) for pid, _, _, _ in found}
    commands: dict[str, list[tuple[int, int]]] = {}
    for pid, parent, unit, command in found:
        # The tests' own traffic is a unit of its own.
        if int(parent) not in ours and unit == "supervisor.service":
            commands.setdefault(command, []).append((int(pid), int(parent)))
    return commands


def listeners(stack: Stack, port: int) -> set[int]:
    """The processes that listen on a TCP port."""
    found = stack.host.check_output(f"ss -Hltnp sport = :{port}")
    return {int(pid) for pid in re.findall(r"\bpid=(\d+)", found)}


def worker(stack: Stack, pool: str) -> str:
    """The program of a pool in the live generation."""
    return f"{APP}-worker-{pool}.{live(stack)}"


def web(stack: Stack) -> str:
    """The program of Gunicorn in the live generation."""
    return f"{APP}-web.{live(stack)}"


# --- Settings that are put back.


@contextmanager
def drop_in(stack: Stack, unit: str, text: str) -> Iterator[None]:
    """Other settings of a systemd unit; what runs keeps running."""
    path = f"/etc/systemd/system/{unit}.d/zz-faults.conf"
    stack.host.check_output(
        "install -d $(dirname %s) && printf %s %s >%s && systemctl daemon-reload", path, "%s", text, path
    )
    try:
        yield
    finally:
        stack.host.check_output(f"rm -f {path} && systemctl daemon-reload")


@contextmanager
def program_settings(stack: Stack, programs: Iterable[str], substitution: str) -> Iterator[None]:
    """Stanzas of Supervisor's, changed by a `sed` expression; their programs start anew, before and after."""
    names = list(programs)
    find = "grep -lrF %s /etc/supervisor/conf.d /etc/supervisor/rootstock"
    stanzas = {name: stack.host.check_output(find, f"[program:{name}]").splitlines()[0] for name in names}
    kept = f"/run/faults-stanzas-{secrets.token_hex(4)}"
    stack.host.check_output(f"mkdir {kept} && cp -p {' '.join(set(stanzas.values()))} {kept}")
    try:
        for name, file in stanzas.items():
            sed = f"/^\\[program:{re.escape(name)}\\]/,/^\\[/ {{ {substitution} }}"
            before = stack.host.check_output("sha256sum %s", file)
            stack.host.check_output("sed -i -E %s %s", sed, file)
            assert stack.host.check_output("sha256sum %s", file) != before, f"{substitution} changes nothing"
        update(stack, names)
        yield
    finally:
        for file in set(stanzas.values()):
            stack.host.check_output("cp -p %s/$(basename %s) %s", kept, file, file)
        stack.host.check_output(f"rm -r {kept}")
        update(stack, names)


def update(stack: Stack, programs: Iterable[str]) -> None:
    """Has Supervisor run these programs as their stanzas say now."""
    names = list(programs)
    stack.host.check_output(f"supervisorctl reread && supervisorctl update {' '.join(names)}")
    for name in names:
        # An exited one is started by nobody where that is what was changed.
        if stack.programs()[name] in ("EXITED", "STOPPED", "FATAL"):
            stack.host.check_output(f"supervisorctl start {name}")
        wait_for(partial(program_pid, stack, name), 60, f"{name} runs")


# --- The network inside the server: rules in a table of their own, which goes in any case.

TABLE = "inet faults"


@contextmanager
def cut_from_redis(stack: Stack) -> Iterator[None]:
    """What application and watchdog send to Redis is dropped, and what it sends to them; nobody is told."""
    with cut_from(stack, 6379):
        yield


@contextmanager
def cut_from(stack: Stack, port: int) -> Iterator[None]:
    """Drops packets between a port of the server and the application or root, in both directions."""
    # There may be no connection to cut.
    ports = ", ".join(own_ports(stack, APP, port))
    answers = f"tcp sport {port} tcp dport {{ {ports} }} drop" if ports else ""
    rules = f"""table {TABLE} {{
        chain output {{
            type filter hook output priority 0;
            meta skuid {{ {APP}, root }} tcp dport {port} drop
            {answers}
        }}
    }}"""
    with firewall(stack, rules):
        yield


def own_ports(stack: Stack, user: str, port: int) -> list[str]:
    """The local ports of a user's connections to a port of the server."""
    uid = stack.host.check_output(f"id -u {user}")
    found = stack.host.check_output(f"ss -Htne state established dport = :{port}").splitlines()
    return [line.split()[2].rsplit(":", 1)[1] for line in found if f"uid:{uid} " in line + " "]


@contextmanager
def firewall(stack: Stack, rules: str) -> Iterator[None]:
    """Rules of nftables in the tests' own table."""
    stack.host.check_output("printf %s %s | nft -f -", "%s", rules)
    try:
        yield
    finally:
        stack.host.check_output(f"nft delete table {TABLE}")


# --- Disks


@contextmanager
def small_disk(stack: Stack, directory: str, owner: str, unit: str, mebibytes: int) -> Iterator[None]:
    """A file system of that size instead of a directory whose unit is stopped for it; its files move."""
    host, copy = stack.host, f"{directory}.faults"
    host.check_output(f"systemctl stop {unit} && cp -a {directory} {copy}")
    mounted = f"mount -t tmpfs -o size={mebibytes}m,mode=0750,uid={owner},gid={owner} faults {directory}"
    host.check_output(f"{mounted} && cp -a {copy}/. {directory}/ && systemctl start {unit}")
    try:
        yield
    finally:
        # What was written meanwhile counts, so it moves back.
        host.run(f"rm -f {directory}/filler")
        host.check_output(f"systemctl stop {unit} && rm -rf {copy} && cp -a {directory} {copy}")
        host.check_output(
            f"umount {directory} && rm -rf {directory} && mv {copy} {directory} && systemctl start {unit}"
        )


def fill(stack: Stack, directory: str) -> None:
    """Leaves no room in a file system."""
    stack.host.run(f"dd if=/dev/zero of={directory}/filler bs=64k status=none; sync -f {directory}")
    assert stack.host.check_output(f"df --output=avail {directory} | tail -n 1").strip() == "0"


# --- A slow database


class SlowDatabase:
    """The way of the application to PostgreSQL, and how long each of its messages takes on it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def delay(self, seconds: float) -> None:
        self._stack.host.check_output(f"echo {seconds:g} >{DELAY}")


DELAY = "/run/faults-delay"


@contextmanager
def slow_database(stack: Stack) -> Iterator[SlowDatabase]:
    """All connections of the application to PostgreSQL lead through a proxy of the tests'."""
    database = SlowDatabase(stack)
    database.delay(0)
    program = base64.b64encode((Path(__file__).parent / "slow_proxy.py").read_bytes()).decode()
    stack.host.check_output(
        f"echo {program} | base64 -d >/run/faults-proxy.py && "
        f"systemd-run --quiet --collect --unit faults-proxy python3 /run/faults-proxy.py 6432 5432 {DELAY}"
    )
    wait_for(lambda: listeners(stack, 6432), 10, "the proxy listens")
    rules = f"""table {TABLE} {{
        chain output {{
            type nat hook output priority -100;
            meta skuid {APP} tcp dport 5432 redirect to :6432
        }}
    }}"""
    try:
        with firewall(stack, rules):
            forget_connections(stack)
            yield database
    finally:
        stack.host.check_output(f"systemctl stop faults-proxy; rm -f {DELAY} /run/faults-proxy.py")


def forget_connections(stack: Stack) -> None:
    """Ends the connections to the database that are kept and idle: the next ones are new."""
    query = (
        f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{APP}' and state = 'idle'"  # noqa: S608 - no input of anybody's, 2026-11-25
    )
    stack.host.check_output("runuser -u postgres -- psql -At -c %s", query)
