#!/usr/bin/python3
"""Bring the running programs of some sets to what their files in Supervisor's conf.d say.

Usage: supervisor-apply SET... [--only PROGRAM...] [--stop PROGRAM...] | --reap

Restarts exactly the programs whose stanza changed, each as soon as it has stopped, while
`supervisorctl update` would wait for one group after another. Programs that no file names any more are told
to stop and left to finish in the background, however long they take. Prints one JSON line. Exit status 1
when a program does not run; then stderr has its name, its state and the end of its log.
"""

import argparse
import fcntl
import http.client
import json
import os
import re
import subprocess
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
# http://supervisord.org/api.html, supervisor.xmlrpc.Faults
BAD_NAME, STILL_RUNNING = 10, 91

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
# ruff: noqa: N802 - Supervisor's own names, 2026-11-23
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
    # Told to stop, now or before, and not done yet. This is no change: it goes on by itself.
    draining: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The report as one line of JSON."""
        changed = bool(self.started or self.stopped or self.restarted)
        return json.dumps({"changed": changed, **asdict(self)})


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

    def apply(self, wait: bool = True) -> Report:
        """Without wait, what has been started may not run yet.

        Raises NotRunningError, and xmlrpc.client.Fault for a configuration that Supervisor refuses."""
        added, changed, removed = (set(names) for names in self.rpc.reloadConfig()[0])
        new, restart = added & self.wanted, changed & self.wanted
        settings = {program["name"]: program for program in self.rpc.getAllConfigInfo()}

        for name in sorted(restart):
            self.rpc.stopProcessGroup(name, False)
        for name in sorted(new):
            self.rpc.addProcessGroup(name)
        revived = self.revive(self.wanted - new - restart)
        self.replace(restart, settings)
        # What no file names any more is stopped, whatever set it was of: nobody else would do it later.
        stopped, draining = self.retire(removed)
        if wait:
            self.wait_until_running(settings)
        return Report(sorted(new | revived), sorted(stopped), sorted(restart), sorted(draining))

    def retire(self, names: set[str]) -> tuple[set[str], set[str]]:
        """Take out the groups that have stopped, and tell the others to stop, without waiting for them.

        Returns the names of those that ran until now, and of those that have not stopped yet.
        """
        processes = self.processes(names)
        busy = {process["group"] for process in processes if process["state"] not in STOPPED}
        running = {process["group"] for process in processes if process["state"] in SIGNALLED_ON_STOP}
        for name in sorted(names - busy):
            if self.attempt(self.rpc.removeProcessGroup, name) == STILL_RUNNING:
                busy.add(name)
        for name in sorted(running):
            self.attempt(self.rpc.stopProcessGroup, name, False)
        return running, busy

    def attempt(self, call: Callable[..., Any], *arguments: Any) -> int:
        """Make a call that another supervisor-apply may just have made; returns the fault, 0 for none."""
        try:
            call(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (BAD_NAME, STILL_RUNNING):
                raise
            return fault.faultCode
        return 0

    def reap(self) -> None:
        """Wait until every program that no file names has stopped, and take it out."""
        while True:
            named = {program["group"] for program in self.rpc.getAllConfigInfo()}
            gone = {process["group"] for process in self.rpc.getAllProcessInfo()} - named
            # A program that exited by itself just before the stop has been started again: it is told anew.
            if not self.retire(gone)[1]:
                return
            self.sleep(POLL_SECONDS)

    def stop(self, names: set[str]) -> Report:
        """Stop programs whose file stays, all at once, and wait until they have."""
        deadline = self.clock() + STOP_SECONDS
        stopped: set[str] = set()
        while True:
            processes = [process for process in self.processes(names) if process["state"] not in STOPPED]
            if not processes:
                return Report(stopped=sorted(stopped))
            if self.clock() > deadline:
                raise NotRunningError(f"not stopped in time:\n{describe(processes)}")
            for name in sorted({p["group"] for p in processes if p["state"] in SIGNALLED_ON_STOP}):
                self.rpc.stopProcessGroup(name, False)
                stopped.add(name)
            self.sleep(POLL_SECONDS)

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

    def replace(self, restart: set[str], settings: dict[str, dict[str, Any]]) -> None:
        """Take each group out as soon as it has stopped, and back in as its file says now."""
        stopping = set(restart)
        patience = max([STOP_SECONDS, *(program["stopwaitsecs"] for program in settings.values())])
        deadline = self.clock() + patience + STOP_MARGIN_SECONDS
        while stopping:
            processes = self.processes(stopping)
            busy = {process["group"] for process in processes if process["state"] not in STOPPED}
            for name in sorted(stopping - busy):
                self.rpc.removeProcessGroup(name)
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


def reap_in_background() -> None:
    """Leave the waiting for programs that drain to a unit of its own; its log is in the journal."""
    unit = ["systemd-run", "--quiet", "--collect", f"--unit=rootstock-reap-{os.getpid()}"]
    subprocess.run([*unit, str(Path(__file__).resolve()), "--reap"], check=True)


def main() -> int:
    """Exit status: 0 when every program that is asked for runs (or has stopped), 1 otherwise."""
    parser = argparse.ArgumentParser(description="Apply sets of Supervisor programs.")
    where = f"a file in {CONFIGURATION_DIRECTORY}, without .conf"
    parser.add_argument("sets", nargs="*", metavar="SET", help=where)
    parser.add_argument("--only", nargs="+", metavar="PROGRAM", help="start these alone, without waiting")
    parser.add_argument("--stop", nargs="+", metavar="PROGRAM", help="stop these and wait; their file stays")
    parser.add_argument("--reap", action="store_true", help="wait for what drains, and take it out")
    arguments = parser.parse_args()
    try:
        if arguments.reap:
            try:
                Applier(connect(), set()).reap()
            except (OSError, http.client.HTTPException):
                print("Supervisor has ended, and with it what was draining", file=sys.stderr)
            return 0
        with LOCK_FILE.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if arguments.stop:
                report = Applier(connect(), set()).stop(set(arguments.stop))
            else:
                paths = [CONFIGURATION_DIRECTORY / f"{name}.conf" for name in arguments.sets]
                names = set().union(*(program_names(path.read_text()) for path in paths if path.exists()))
                wanted = names & set(arguments.only) if arguments.only else names
                report = Applier(connect(), wanted).apply(wait=not arguments.only)
                if report.draining:
                    reap_in_background()
        print(report.line())
    except NotRunningError as error:
        print(error, file=sys.stderr)
        return 1
    except xmlrpc.client.Fault as fault:
        print(f"Supervisor refuses: {fault.faultString}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
