#!/usr/bin/python3
"""Bring the running programs of one set to what its file in Supervisor's conf.d says.

Usage: supervisor-apply SET

Restarts exactly the programs whose stanza changed, each as soon as it has stopped, while
`supervisorctl update` would wait for one group after another. Prints one JSON line. Exit status 1 when a
program does not run; then stderr has its name, its state and the end of its log.
"""

import argparse
import fcntl
import http.client
import json
import re
import sys
import time
import xmlrpc.client
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

CONFIGURATION_DIRECTORY = Path("/etc/supervisor/conf.d")
SOCKET_URL = "unix:///var/run/supervisor.sock"
LOCK_FILE = Path("/run/lock/rootstock-supervisor-apply")

# http://supervisord.org/subprocess.html#process-states
RUNNING, BACKOFF, STOPPING, FATAL = 20, 30, 40, 200
SIGNALLED_ON_STOP = {10, RUNNING, BACKOFF}
STOPPED = {0, 100, FATAL, 1000}

CONNECT_SECONDS = 30.0
POLL_SECONDS = 0.2
# Beyond a program's own startsecs: room for a few attempts.
START_SECONDS = 30.0
# Supervisor itself kills a program after its stopwaitsecs: these bounds are only for one that SIGKILL
# does not end. The old stanza's stopwaitsecs is gone with its file, so an hour stands for it.
STOP_SECONDS = 3600.0
STOP_MARGIN_SECONDS = 60.0
LOG_LINES = 20
LOG_BYTES = 65536


# The names of the methods are Supervisor's.
# ruff: noqa: N802
class Supervisor(Protocol):
    """The part of Supervisor's XML-RPC interface that is used (http://supervisord.org/api.html)."""

    def reloadConfig(self) -> Any: ...
    def getAllConfigInfo(self) -> Any: ...
    def getAllProcessInfo(self) -> Any: ...
    def addProcessGroup(self, name: str) -> Any: ...
    def removeProcessGroup(self, name: str) -> Any: ...
    def stopProcessGroup(self, name: str, wait: bool) -> Any: ...
    def startProcess(self, name: str, wait: bool) -> Any: ...
    def stopProcess(self, name: str, wait: bool) -> Any: ...


class NotRunningError(Exception):
    """Programs that did not reach the state they should be in; the message is for people."""


@dataclass
class Report:
    """Names of the programs that were touched."""

    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The report as one line of JSON."""
        return json.dumps({"changed": bool(self.started or self.stopped or self.restarted), **asdict(self)})


def program_names(text: str) -> set[str]:
    """Names of the programs in the text of a Supervisor configuration file."""
    return set(re.findall(r"^\[program:([^\]]+)\]", text, re.MULTILINE))


def log_tail(path: Path, lines: int = LOG_LINES) -> str:
    """The last lines of a log, or why it cannot be read."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LOG_BYTES))
            text = log.read().decode(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(deque(text.splitlines(), maxlen=lines))


def describe(processes: Iterable[dict[str, Any]]) -> str:
    """Name, state, reason and log of each process."""
    return "\n".join(
        f"{process['name']}: {process['statename']} {process['spawnerr'] or process['description']}\n"
        f"--- the last lines of {process['stdout_logfile']}\n{log_tail(Path(process['stdout_logfile']))}"
        for process in processes
    )


class Applier:
    """One application of a set.

    `wanted` are the programs the set's file names; clock (seconds) and sleep are parameters for the tests.
    """

    def __init__(
        self,
        rpc: Supervisor,
        wanted: set[str],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rpc, self.wanted, self.clock, self.sleep = rpc, wanted, clock, sleep

    def processes(self, names: set[str]) -> list[dict[str, Any]]:
        """Supervisor's view of the processes of these groups (a program is a group of its own name)."""
        return [process for process in self.rpc.getAllProcessInfo() if process["group"] in names]

    def apply(self) -> Report:
        """Raises NotRunningError, and xmlrpc.client.Fault for a configuration that Supervisor refuses."""
        added, changed, removed = (set(names) for names in self.rpc.reloadConfig()[0])
        new, restart = added & self.wanted, changed & self.wanted
        # What no file names any more is stopped, whatever set it was of: nobody else would do it later.
        gone = removed
        settings = {program["name"]: program for program in self.rpc.getAllConfigInfo()}

        for name in sorted(gone | restart):
            self.rpc.stopProcessGroup(name, False)
        for name in sorted(new):
            self.rpc.addProcessGroup(name)
        revived = self.revive(self.wanted - new - restart)
        self.replace(gone | restart, restart, settings)
        self.wait_until_running(settings)
        return Report(started=sorted(new | revived), stopped=sorted(gone), restarted=sorted(restart))

    def revive(self, names: set[str]) -> set[str]:
        """Start what is stopped or has been given up, and at once what waits for its next attempt."""
        revived = set()
        for process in self.processes(names):
            if process["state"] == BACKOFF:
                self.rpc.stopProcess(process["name"], True)
            elif process["state"] not in STOPPED:
                continue
            try:
                self.rpc.startProcess(process["name"], False)
            except xmlrpc.client.Fault as fault:
                # It may have started by itself meanwhile; what did not start is reported with its log later.
                print(f"{process['name']}: {fault.faultString}", file=sys.stderr)
            revived.add(process["name"])
        return revived

    def replace(self, stopping: set[str], restart: set[str], settings: dict[str, dict[str, Any]]) -> None:
        """Take each group out as soon as it has stopped, and the ones to restart back in."""
        stopping = set(stopping)
        patience = max([STOP_SECONDS, *(program["stopwaitsecs"] for program in settings.values())])
        deadline = self.clock() + patience + STOP_MARGIN_SECONDS
        while stopping:
            processes = self.processes(stopping)
            busy = {process["group"] for process in processes if process["state"] not in STOPPED}
            for name in sorted(stopping - busy):
                self.rpc.removeProcessGroup(name)
                if name in restart:
                    self.rpc.addProcessGroup(name)
            stopping &= busy
            # A program that exited by itself a moment before the stop has been started again by now.
            for name in sorted({p["group"] for p in processes if p["state"] in SIGNALLED_ON_STOP}):
                self.rpc.stopProcessGroup(name, False)
            if stopping:
                if self.clock() > deadline:
                    raise NotRunningError(f"not stopped in time:\n{describe(self.processes(stopping))}")
                self.sleep(POLL_SECONDS)

    def wait_until_running(self, settings: dict[str, dict[str, Any]]) -> None:
        """Until every program of the set runs, each for its startsecs."""
        startsecs = max((settings[name]["startsecs"] for name in self.wanted if name in settings), default=0)
        deadline = self.clock() + startsecs + START_SECONDS
        while True:
            processes = self.processes(self.wanted)
            missing = self.wanted - {process["group"] for process in processes}
            waiting = [process for process in processes if process["state"] != RUNNING]
            if not waiting and not missing:
                return
            if any(process["state"] == FATAL for process in waiting) or self.clock() > deadline:
                unknown = "".join(f"{name}: unknown to Supervisor\n" for name in sorted(missing))
                raise NotRunningError(unknown + describe(waiting))
            self.sleep(POLL_SECONDS)


def connect() -> Supervisor:
    """Supervisor's interface, once it answers. Raises NotRunningError after CONNECT_SECONDS."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, SOCKET_URL)
    rpc: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            state = rpc.getState()["statename"]
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            state = str(error)
        if state == "RUNNING":
            interface: Supervisor = rpc
            return interface
        if time.monotonic() > deadline:
            raise NotRunningError(f"Supervisor does not answer on {SOCKET_URL}: {state}")
        time.sleep(POLL_SECONDS)


def main() -> int:
    """Exit status: 0 when every program of the set runs, 1 otherwise."""
    parser = argparse.ArgumentParser(description="Apply one set of Supervisor programs.")
    parser.add_argument("set", help=f"name of a file in {CONFIGURATION_DIRECTORY}, without .conf")
    path = CONFIGURATION_DIRECTORY / f"{parser.parse_args().set}.conf"
    with LOCK_FILE.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            wanted = program_names(path.read_text()) if path.exists() else set()
            print(Applier(connect(), wanted).apply().line())
        except NotRunningError as error:
            print(error, file=sys.stderr)
            return 1
        except xmlrpc.client.Fault as fault:
            print(f"Supervisor refuses: {fault.faultString}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
