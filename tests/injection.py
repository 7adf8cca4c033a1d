"""Ways to break a deployed stack, and to make it good again: what is broken in a block is whole after it."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from generations import live
from stack import APP, Stack

REDIS = "redis-server"


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


def program_pid(stack: Stack, program: str) -> int:
    """The process of one of Supervisor's programs; 0 while there is none."""
    found = re.search(r"\bRUNNING\s+pid (\d+),", stack.host.run(f"supervisorctl status {program}").stdout)
    return int(found[1]) if found else 0


def roots(stack: Stack) -> dict[str, list[tuple[int, int]]]:
    """The application's processes that another one of it has not begun: (id, parent) by command line."""
    listed = stack.host.check_output(
        f"ps --no-headers -ww -o pid:1,ppid:1,unit:1,args:1 -u {APP}"
    ).splitlines()
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
    """Stanzas of Supervisor's, changed by a `sed` expression; their programs are started anew."""
    names = list(programs)
    files = {
        stack.host.check_output(
            "grep --files-with-matches --recursive --fixed-strings %s /etc/supervisor/conf.d /etc/supervisor/rootstock",
            f"[program:{name}]",
        ).split()[0]
        for name in names
    }
    for file in files:
        stack.host.check_output(
            "cp -p %s /run/faults-$(basename %s) && sed -i -E %s $(readlink -f %s)",
            file,
            file,
            substitution,
            file,
        )
    try:
        stack.host.check_output(f"supervisorctl reread && supervisorctl update {' '.join(names)}")
        yield
    finally:
        for file in files:
            stack.host.check_output(
                "cat /run/faults-$(basename %s) >%s && rm /run/faults-$(basename %s)", file, file, file
            )
        stack.host.check_output(f"supervisorctl reread && supervisorctl update {' '.join(names)}")
