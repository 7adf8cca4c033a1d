"""What a Celery worker says of itself, whether its broker answers, and what is wrong with it.

A worker writes its heartbeat to /run/<app>/<program>.heartbeat every 2 s. All times are seconds of
CLOCK_MONOTONIC, which the processes of a host share and which a changed clock leaves alone.
"""

import glob
import json
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

RUN_DIRECTORY = Path("/run")
# Far more than a heartbeat has: the application writes it, and root reads it.
HEARTBEAT_BYTES = 65536

# A worker writes every 2 s, and the event loop's timer runs as often: thirty in a row are no busy host.
STUCK_SECONDS = 60.0
# What a heartbeat says of its worker, and that Redis has answered it, holds for five times its interval.
FRESH_SECONDS = 10.0
# Redis answers the request for tasks every four seconds at least.
IDLE_SECONDS = 30.0
# Celery waits up to 30 s between two attempts to connect (kombu's interval_max).
RECONNECT_SECONDS = 45.0

# The broker is on this host or near it.
PING_SECONDS = 2.0
# A Redis that is there and serves nobody: a worker that is started again would hear the same.
SERVES_NOBODY = (b"-LOADING", b"-BUSY", b"-MASTERDOWN", b"-MISCONF", b"-ERR max number of clients")

Broker = tuple[str, int]


@dataclass(frozen=True)
class Heartbeat:
    """What a worker's main process says; None is a time that has not come yet."""

    pid: int
    written: float
    # When the event loop last ran its timer, and when the broker last answered the request for tasks.
    loop: float | None
    polled: float | None
    # Whether there is room for another task: without, a worker rightly asks for none.
    free: bool
    connected: bool
    stopping: bool
    queues: frozenset[str]
    expected: frozenset[str]
    # Host and port; None where they cannot be known.
    broker: Broker | None


@dataclass
class Process:
    """What is remembered of a program's process from one look to the next."""

    pid: int
    first: float
    connected: bool = False
    # Since when it could take a task at each look, and since when it lacks a queue.
    ready: float | None = None
    lacking: float | None = None
    # When it was told to stop, and whether it has been killed since.
    terminated: float | None = None
    killed: bool = False

    def observe(self, heartbeat: Heartbeat, now: float) -> None:
        """Note what this look has found."""
        if heartbeat.connected and not heartbeat.free:
            self.ready = None
        elif self.ready is None or heartbeat.connected != self.connected:
            # A worker that has just connected has not asked for tasks yet.
            self.ready = now
        self.connected = heartbeat.connected
        if not heartbeat.connected or heartbeat.expected <= heartbeat.queues:
            self.lacking = None
        elif self.lacking is None:
            self.lacking = now


def parse(text: bytes) -> Heartbeat:
    """The heartbeat in a text. Raises ValueError if there is none."""
    try:
        said = json.loads(text)
        return Heartbeat(
            pid=int(said["pid"]),
            written=float(said["written"]),
            loop=None if said["loop"] is None else float(said["loop"]),
            polled=None if said["polled"] is None else float(said["polled"]),
            free=bool(said["free"]),
            connected=bool(said["connected"]),
            stopping=bool(said["stopping"]),
            queues=frozenset(map(str, said["queues"])),
            expected=frozenset(map(str, said["expected"])),
            broker=(str(said["broker"][0]), int(said["broker"][1])) if said["broker"] else None,
        )
    except (LookupError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(repr(error)) from error


def read_heartbeat(program: str, owner: int) -> Heartbeat | None:
    """A program's heartbeat; only the program's own user has a say in it. Raises ValueError for a bad one."""
    for path in RUN_DIRECTORY.glob(f"*/{glob.escape(program)}.heartbeat"):
        try:
            # Neither a link nor a pipe of an application may lead root astray or stop it.
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            status = os.fstat(file)
            if stat.S_ISREG(status.st_mode) and status.st_uid == owner:
                return parse(os.read(file, HEARTBEAT_BYTES))
        finally:
            os.close(file)
    return None


def answers(broker: Broker) -> bool:
    """Whether the broker serves. Any other reply to PING counts, also that a password is needed."""
    try:
        with socket.create_connection(broker, PING_SECONDS) as connection:
            connection.sendall(b"PING\r\n")
            try:
                reply = connection.recv(64)
            except ConnectionError:
                reply = b""
        if reply:
            return not reply.startswith(SERVES_NOBODY)
        # Closed without a word: it expects TLS, or it forwards connections to a broker that is not there.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(broker, PING_SECONDS) as connection:
            with context.wrap_socket(connection):
                return True
    except ssl.SSLError as error:
        # A refusal in TLS is an answer as well: it may want a certificate of the client.
        return not isinstance(error, ssl.SSLEOFError)
    except (OSError, ValueError, OverflowError):
        return False


def symptom(heartbeat: Heartbeat, process: Process, now: float, answering: float) -> str:
    """What is wrong, with figures; empty for nothing. `answering`: seconds in which the broker has answered.

    While the broker does not answer, a restart does not help, and it would cut running tasks.
    """
    age = now - heartbeat.written
    if age > STUCK_SECONDS:
        return f"no heartbeat for {age:.0f} s: the process stands still"
    if age > FRESH_SECONDS or answering < IDLE_SECONDS:
        return ""
    loop = 0.0 if heartbeat.loop is None else now - heartbeat.loop
    if heartbeat.connected and loop > STUCK_SECONDS:
        return f"no turn of the event loop for {loop:.0f} s: it stands still"
    unanswered = now - (process.first if heartbeat.polled is None else heartbeat.polled)
    ready = 0.0 if process.ready is None else now - process.ready
    if min(unanswered, ready, answering) >= (IDLE_SECONDS if heartbeat.connected else RECONNECT_SECONDS):
        how = "connected with room for tasks" if heartbeat.connected else "not connected"
        return (
            f"{how}, no request for tasks answered for {unanswered:.0f} s, while the broker has answered for "
            f"{answering:.0f} s: it is alive but does not consume"
        )
    lacking = 0.0 if process.lacking is None else now - process.lacking
    if lacking >= IDLE_SECONDS:
        queues = ", ".join(sorted(heartbeat.expected - heartbeat.queues))
        return f"queue {queues} is not consumed for {lacking:.0f} s"
    return ""
