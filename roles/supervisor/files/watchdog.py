#!/usr/bin/python3
"""Heal programs that Supervisor has given up, or believes to be well. Runs for ever.

Supervisor starts again what exits. It waits longer after each failed attempt, gives up at last, and does not
see a worker that runs and consumes nothing. Each act is one line: program, what was seen, what is done.
"""

import fcntl
import http.client
import math
import signal
import socket
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from watchdog_worker import (
    FRESH_SECONDS,
    IDLE_SECONDS,
    Broker,
    Heartbeat,
    Process,
    answers,
    read_heartbeat,
    symptom,
)

SOCKET_URL = "unix:///var/run/supervisor.sock"
# supervisor-apply's: while it changes what should run, it starts programs itself.
LOCK_FILE = Path("/run/lock/rootstock-supervisor-apply")

# http://supervisord.org/subprocess.html#process-states, supervisor.xmlrpc.Faults
STOPPED, RUNNING, BACKOFF, STOPPING, FATAL = 0, 20, 30, 40, 200
NOT_RUNNING = 70

LOOK_SECONDS = 5.0
# After a longer pause than this the host itself stood still, and every heartbeat is old for a moment.
LATE_SECONDS = 15.0
# Supervisor's wait grows by a second with each attempt, without a bound. Up to here it may go on; with a look
# every 5 s a longer one is ended within 15 s.
WAIT_SECONDS = 10.0
REVIVE_SECONDS = 15.0
# A worker says at once that it stops. One that does not cannot.
KILL_SECONDS = 30.0
# What three restarts have not healed, a fourth would not heal either.
HEALINGS = 3
HEALING_WINDOW_SECONDS = 900.0
# Supervisor answers within milliseconds unless it hangs.
CALL_SECONDS = 10.0


# The names of the methods are Supervisor's.
# ruff: noqa: N802 - Supervisor's own names, 2026-11-25
class Supervisor(Protocol):
    """The part of Supervisor's XML-RPC interface that is used (http://supervisord.org/api.html)."""

    def getAllConfigInfo(self) -> Any: ...
    def getAllProcessInfo(self) -> Any: ...
    def getProcessInfo(self, name: str) -> Any: ...
    def startProcess(self, name: str, wait: bool) -> Any: ...
    def stopProcess(self, name: str, wait: bool) -> Any: ...
    def signalProcess(self, name: str, signal: str) -> Any: ...


@dataclass
class Program:
    """What is remembered of a program from one look to the next."""

    process: Process
    # The attempt after which Supervisor waits, by its own time, and when this wait was first seen.
    attempt: int | None = None
    waiting: float = 0.0
    revived: float = -math.inf
    # Stopped here and not started again yet. Any other program that is stopped was stopped by a person.
    owed: bool = False
    healings: list[float] = field(default_factory=list)
    is_worker: bool = False
    # When the first act was that no recovery has followed.
    trouble: float | None = None


def say(text: str) -> None:
    """One line in the journal, whatever an application has put into a name."""
    print(" ".join(text.split()), flush=True)


@contextmanager
def nobody_applies() -> Iterator[bool]:
    """Keep supervisor-apply out meanwhile; False if it is at work."""
    with LOCK_FILE.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


class Watchdog:
    """What is known from one look to the next. The parameters are for the tests; clock is in seconds."""

    def __init__(
        self,
        connect: Callable[[], Supervisor],
        clock: Callable[[], float] = time.monotonic,
        ping: Callable[[Broker], bool] = answers,
    ) -> None:
        self.connect, self.clock, self.ping = connect, clock, ping
        self.programs: dict[str, Program] = {}
        # Since when each broker has answered at every look.
        self.answering: dict[Broker, float] = {}
        # What is wrong and has been said.
        self.noted: set[str] = set()
        self.looked = clock()

    def note(self, wrong: bool, bad: str, good: str, why: str = "") -> None:
        """Say that something is wrong when it begins and, unless good is empty, that it has ended."""
        if wrong and bad not in self.noted:
            say(bad + why)
            self.noted.add(bad)
        elif not wrong and bad in self.noted:
            if good:
                say(good)
            self.noted.remove(bad)

    def look(self) -> None:
        """Look at every program once, and do what is due."""
        now = self.clock()
        late = now - self.looked > LATE_SECONDS
        problem = ""
        try:
            rpc = self.connect()
            with nobody_applies() as may_start:
                processes = self.observe(rpc, now)
                for name, process in processes.items():
                    if may_start:
                        self.revive(rpc, name, process, now)
            running = {name: process for name, process in processes.items() if process["state"] == RUNNING}
            heartbeats = {name: self.heartbeat(name, process, now) for name, process in running.items()}
            self.ask_brokers({heartbeat for heartbeat in heartbeats.values() if heartbeat}, now, late)
            for name, heartbeat in heartbeats.items():
                if not late:
                    self.judge(rpc, name, running[name], heartbeat, now)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            problem = repr(error)
        self.note(bool(problem), "Supervisor does not answer: ", "Supervisor answers again", problem)
        self.looked = self.clock()

    def observe(self, rpc: Supervisor, now: float) -> dict[str, dict[str, Any]]:
        """Supervisor's view of the programs that a file names: a replaced generation that drains has none."""
        named = {(item["group"], item["name"]): item for item in rpc.getAllConfigInfo()}
        processes: dict[str, dict[str, Any]] = {}
        for process in rpc.getAllProcessInfo():
            group, name = process["group"], process["name"]
            if (group, name) in named:
                processes[name if name == group else f"{group}:{name}"] = named[group, name] | process
        self.programs = {name: self.programs.get(name, Program(Process(0, now))) for name in processes}
        for name, process in processes.items():
            program = self.programs[name]
            if program.process.pid != process["pid"]:
                program.process = Process(process["pid"], now)
            attempt = process["start"] if process["state"] == BACKOFF else None
            if attempt != program.attempt:
                program.attempt, program.waiting = attempt, now
            program.owed = program.owed and process["state"] in (STOPPED, STOPPING)
            if process["state"] == STOPPED and not program.owed:
                program.trouble = None
        return processes

    def revive(self, rpc: Supervisor, name: str, process: dict[str, Any], now: float) -> None:
        """Start a program that Supervisor has given up, or whose next attempt is far away."""
        program, state = self.programs[name], process["state"]
        waited = now - program.waiting
        due = state == FATAL or (state == STOPPED and program.owed)
        due = due or (state == BACKOFF and waited >= WAIT_SECONDS)
        if not due or now - program.revived < REVIVE_SECONDS:
            return
        seen = f"{name}: {process['statename']}, {process['spawnerr'] or 'no reason known'}"
        if state == BACKOFF:
            seen += f", {waited:.0f} s since the last attempt and the wait grows with each"
        say(f"{seen}; starting it")
        program.revived, program.trouble = now, now if program.trouble is None else program.trouble
        try:
            if state == BACKOFF:
                program.owed = True
                rpc.stopProcess(name, True)
            rpc.startProcess(name, False)
            program.owed = False
        except xmlrpc.client.Fault as fault:
            # Somebody else was faster to stop it: that is his wish.
            program.owed = program.owed and fault.faultCode != NOT_RUNNING
            say(f"{name}: Supervisor refuses: {fault.faultString}")

    def heartbeat(self, name: str, process: dict[str, Any], now: float) -> Heartbeat | None:
        """The heartbeat of a running program's process; None for a program that has none."""
        program, problem, found = self.programs[name], "", None
        try:
            owner = process["uid"] if isinstance(process["uid"], int) else 0
            found = read_heartbeat(process["name"], owner)
        except ValueError as error:
            problem = repr(error)
        self.note(bool(problem), f"{name}: its heartbeat cannot be read: ", "", problem)
        if found is None or found.pid != process["pid"]:
            return None
        program.is_worker = True
        program.process.observe(found, now)
        return found

    def ask_brokers(self, heartbeats: Iterable[Heartbeat], now: float, late: bool) -> None:
        """Note which of the workers' brokers answer."""
        brokers = {heartbeat.broker for heartbeat in heartbeats if heartbeat.broker}
        # Where a worker has been answered there is no need to ask.
        answered = {item.broker for item in heartbeats if item.polled and now - item.polled < FRESH_SECONDS}
        before = {} if late else self.answering
        self.answering = {}
        for broker in sorted(brokers):
            answer = broker in answered or self.ping(broker)
            if answer:
                self.answering[broker] = before.get(broker, now)
            text = f"broker {broker[0]}:{broker[1]}"
            self.note(not answer, f"{text} does not answer: workers are left alone", f"{text} answers again")

    def judge(
        self, rpc: Supervisor, name: str, process: dict[str, Any], heartbeat: Heartbeat | None, now: float
    ) -> None:
        """Heal a worker that is ill, and say of a program that it has recovered."""
        program, known = self.programs[name], self.programs[name].process
        stopping = heartbeat is not None and heartbeat.stopping
        if known.terminated is not None:
            # Its running tasks have the time that a stop has.
            patience = max(KILL_SECONDS, process["stopwaitsecs"]) if stopping else KILL_SECONDS
            if now - known.terminated >= patience and not known.killed:
                known.killed = True
                seen = f"it still runs {now - known.terminated:.0f} s after SIGTERM"
                self.send(rpc, name, known.pid, "KILL", seen)
            return
        answering = now - self.answering.get(heartbeat.broker, now) if heartbeat and heartbeat.broker else 0.0
        ill = symptom(heartbeat, known, now, answering) if heartbeat and not stopping else ""
        program.healings = [at for at in program.healings if now - at < HEALING_WINDOW_SECONDS]
        given_up = bool(ill) and len(program.healings) >= HEALINGS
        if ill and not given_up:
            known.terminated = now
            program.healings.append(now)
            program.trouble = now if program.trouble is None else program.trouble
            limit = f"restart {len(program.healings)} of {HEALINGS} in {HEALING_WINDOW_SECONDS / 60:.0f} min"
            self.send(rpc, name, known.pid, "TERM", f"{ill}; {limit}")
        elif not ill and program.trouble is not None and self.well(program, heartbeat, now):
            say(f"{name}: recovered after {now - program.trouble:.0f} s")
            program.trouble = None
        left = HEALING_WINDOW_SECONDS - (now - program.healings[0]) if given_up else 0.0
        bad = f"{name}: given up after {HEALINGS} restarts"
        self.note(given_up, bad, "", f", left alone for {left:.0f} s: {ill}")

    def well(self, program: Program, heartbeat: Heartbeat | None, now: float) -> bool:
        """Whether a running program does what it should, as far as can be seen."""
        if now - program.process.first < LOOK_SECONDS:
            return False
        if not program.is_worker:
            return True
        if heartbeat is None or heartbeat.stopping or not heartbeat.connected:
            return False
        asks = heartbeat.polled is not None and now - heartbeat.polled < IDLE_SECONDS
        return heartbeat.expected <= heartbeat.queues and (asks or not heartbeat.free)

    def send(self, rpc: Supervisor, name: str, pid: int, signal_name: str, seen: str) -> None:
        """Signal a process, unless it has ended or is being stopped meanwhile."""
        try:
            process = rpc.getProcessInfo(name)
            if (process["state"], process["pid"]) == (RUNNING, pid):
                say(f"{name}: {seen}; SIG{signal_name} to pid {pid}")
                rpc.signalProcess(name, signal_name)
        except xmlrpc.client.Fault as fault:
            say(f"{name}: Supervisor refuses: {fault.faultString}")


def connect() -> Supervisor:
    """Supervisor's interface over a new connection, which is made with the first call."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, SOCKET_URL)
    interface: Supervisor = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
    return interface


def main() -> None:
    """Look until SIGTERM, which comes between two looks: what one stops it also starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    socket.setdefaulttimeout(CALL_SECONDS)
    watchdog = Watchdog(connect)
    while signal.sigtimedwait({signal.SIGTERM}, LOOK_SECONDS) is None:
        watchdog.look()


if __name__ == "__main__":
    main()
