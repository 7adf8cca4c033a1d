"""A Supervisor, its programs and their workers, simulated second by second for the watchdog."""

import json
import os
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repository import source_module

worker = source_module("roles/supervisor/files/watchdog_worker.py")
watchdog = source_module("roles/supervisor/files/watchdog.py")

STATES = {
    "STOPPED": 0,
    "STARTING": 10,
    "RUNNING": 20,
    "BACKOFF": 30,
    "STOPPING": 40,
    "EXITED": 100,
    "FATAL": 200,
}
STARTSECS = 2
BROKER = ("127.0.0.1", 6379)
# Long before: what a worker did last before it was ill.
NEVER = 1e9


@dataclass
class Worker:
    """What a worker writes into its heartbeat. A name with _until ends what it does at that time."""

    written_until: float = NEVER
    loop_until: float = NEVER
    polled_until: float = NEVER
    never_polled: bool = False
    free: bool = True
    connected: bool = True
    stopping: bool = False
    queues: list[str] = field(default_factory=lambda: ["default"])
    broker: tuple[str, int] | None = BROKER


@dataclass
class Program:
    """A program as Supervisor has it, and how its process behaves."""

    state: str = "RUNNING"
    named: bool = True
    pid: int = 1
    since: float = 0.0
    # Supervisor's count of attempts, which is its wait in seconds.
    attempts: int = 0
    fails: bool = False
    # Seconds from SIGTERM to the end; None: the signal has no effect.
    ends_after: float | None = 0.0
    ending: float | None = None
    worker: Worker | None = None
    # What the process is like that follows this one; None: the same again.
    next: Worker | None = None
    pid_in_file: int | None = None


# The names of the methods are Supervisor's.
# ruff: noqa: N802 - Supervisor's own names, 2026-11-26
class World:
    """Supervisor's interface, a clock, brokers, and workers that write their heartbeats."""

    def __init__(self, directory: Path, **programs: Program) -> None:
        self.directory, self.programs = directory, programs
        self.now = 1000.0
        self.pids = 100
        self.calls: list[tuple[float, str, str]] = []
        self.down = False
        self.broker_answers = True
        self.asked: list[tuple[str, int]] = []
        for program in programs.values():
            program.pid, self.pids = self.pids, self.pids + 1
            program.since = self.now
        self.watchdog = watchdog.Watchdog(lambda: self, clock=lambda: self.now, ping=self.ping)

    def ping(self, broker: tuple[str, int]) -> bool:
        self.asked.append(broker)
        return self.broker_answers

    def run(self, seconds: float) -> None:
        """Let time pass; the watchdog looks as often as it does."""
        end = self.now + seconds
        while self.now < end:
            self.now += 1
            for name, program in self.programs.items():
                self.live(name, program)
            if self.now % watchdog.LOOK_SECONDS == 0:
                self.watchdog.look()

    def live(self, name: str, program: Program) -> None:
        passed = self.now - program.since
        if program.ending is not None and self.now >= program.ending:
            self.succeed(program)
        elif program.state == "STARTING" and passed >= STARTSECS:
            self.enter(program, "BACKOFF" if program.fails else "RUNNING")
        elif program.state == "BACKOFF" and passed > program.attempts:
            self.enter(program, "STARTING")
        if program.worker and program.state in ("RUNNING", "STARTING", "STOPPING"):
            self.write(name, program, program.worker)

    def enter(self, program: Program, state: str) -> None:
        if state == "STARTING":
            program.pid, self.pids = self.pids, self.pids + 1
        elif state != "STOPPING":
            program.pid = program.pid if state == "RUNNING" else 0
        program.attempts = {"BACKOFF": program.attempts + 1, "RUNNING": 0}.get(state, program.attempts)
        program.state, program.since = state, self.now

    def succeed(self, program: Program) -> None:
        """The process has ended, and Supervisor starts the next one."""
        program.worker, program.ending = program.next or program.worker, None
        self.enter(program, "STARTING")

    def write(self, name: str, program: Program, it: Worker) -> None:
        if self.now > it.written_until:
            return
        beat = {
            "pid": program.pid_in_file or program.pid,
            "written": self.now,
            "loop": min(self.now, it.loop_until),
            "polled": None if it.never_polled else min(self.now, it.polled_until),
            "free": it.free,
            "connected": it.connected,
            "stopping": it.stopping or program.ending is not None,
            "queues": it.queues,
            "expected": ["default"],
            "broker": it.broker,
        }
        (self.directory / "shop").mkdir(exist_ok=True)
        (self.directory / f"shop/{name}.heartbeat").write_text(json.dumps(beat))

    def note(self, call: str, name: str) -> None:
        self.calls.append((self.now, call, name))

    def times(self, call: str) -> list[float]:
        return [at for at, what, _ in self.calls if what == call]

    def getAllConfigInfo(self) -> Any:
        if self.down:
            raise ConnectionRefusedError("refused")
        return [
            {"name": name, "group": name, "uid": os.getuid(), "stopwaitsecs": 600}
            for name, program in self.programs.items()
            if program.named
        ]

    def getAllProcessInfo(self) -> Any:
        return [self.getProcessInfo(name) for name in self.programs]

    def getProcessInfo(self, name: str) -> Any:
        program = self.programs[name]
        return {
            "name": name,
            "group": name,
            "state": STATES[program.state],
            "statename": program.state,
            "pid": program.pid,
            "start": int(program.since),
            "spawnerr": "Exited too quickly",
        }

    def startProcess(self, name: str, wait: bool) -> Any:
        assert not wait, "one program must not hold up the others"
        if self.programs[name].state not in ("STOPPED", "FATAL", "EXITED"):
            raise xmlrpc.client.Fault(60, f"ALREADY_STARTED: {name}")
        self.note("start", name)
        self.enter(self.programs[name], "STARTING")

    def stopProcess(self, name: str, wait: bool) -> Any:
        if self.programs[name].state not in ("RUNNING", "STARTING", "BACKOFF"):
            raise xmlrpc.client.Fault(watchdog.NOT_RUNNING, f"NOT_RUNNING: {name}")
        assert self.programs[name].state == "BACKOFF", "a stop would wait for its tasks"
        self.note("stop", name)
        self.enter(self.programs[name], "STOPPED")

    def signalProcess(self, name: str, signal: str) -> Any:
        self.note(signal, name)
        program = self.programs[name]
        if signal == "KILL":
            self.succeed(program)
        elif program.ends_after is not None:
            program.ending = self.now + program.ends_after


def refuse(text: str) -> Callable[..., Any]:
    """A method of Supervisor's that fails."""

    def call(*_: object) -> Any:
        raise xmlrpc.client.Fault(20, text)

    return call
