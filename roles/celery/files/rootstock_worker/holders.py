"""Which process holds which unacknowledged messages, so that those of a dead one go back at once.

kombu keeps all unacknowledged messages of all workers in one hash and gives one back only when it is older
than the visibility timeout, because it cannot tell who holds it. Here each worker process has a hash and an
index of its own, named after the process, and a set names them all. What belongs to a process that is
certainly dead goes back as soon as any worker looks, which it does when it starts and every
`unacked_restore_interval`. What belongs to one that certainly lives stays, however long it takes. Only what
belongs to one that cannot be judged from here, such as one on another host, goes back after the visibility
timeout, as ever. How long it was held is told by Redis' clock alone: that of a host may be wrong, or be set.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

#: The set of all holders, in the broker's database.
HOLDERS = "rootstock.holders"
#: kombu's own names: what is held by workers without this package, and the beginning of each holder's own.
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SEPARATOR = "|"


def started(pid: int) -> str:
    """Return when a process was started (clock ticks since boot), empty if it is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The name, in brackets, may have blanks and brackets itself: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def machine() -> str:
    """Return what a process id is unique in: one boot of a kernel, one name space of process ids."""
    return f"{_BOOT_ID.read_text().strip()}:{Path('/proc/self/ns/pid').readlink()}"


@dataclass(frozen=True)
class Holder:
    """A worker process: the node's name, where it runs, and which process it is."""

    node: str
    machine: str
    pid: int
    started: str

    @classmethod
    def this(cls, node: str) -> Self:
        """This process, as the worker of that name."""
        pid = os.getpid()
        return cls(node, machine(), pid, started(pid))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what is not the name of a holder."""
        node, place, pid, began = text.rsplit(_SEPARATOR, 3)
        return cls(node, place, int(pid), began)

    def __str__(self) -> str:
        return _SEPARATOR.join((self.node, self.machine, str(self.pid), self.started))

    @property
    def unacked_key(self) -> str:
        return f"{UNACKED}.{self}"

    @property
    def unacked_index_key(self) -> str:
        return f"{UNACKED_INDEX}.{self}"

    def is_dead_for(self, own: Self) -> bool:
        """Whether the process `own` knows for certain that this one is dead."""
        if self == own:
            return False
        if self.machine == own.machine:
            return started(self.pid) != self.started
        # A node's name is unique, so one of before a reboot is not there any more.
        return self.node == own.node

    def lives_for(self, own: Self) -> bool:
        """Whether the process `own` knows for certain that this one lives."""
        return self.machine == own.machine and not self.is_dead_for(own)


def give_back(channel: Any, client: Any, keys: tuple[str, str], tag: str) -> bool:
    """Put a message back into its queue, unless somebody has just done so; returns whether it was done."""
    unacked_key, index_key = keys
    done = False

    def move(pipe: Any) -> None:
        nonlocal done
        held = pipe.hget(unacked_key, tag)
        pipe.multi()
        pipe.zrem(index_key, tag)
        pipe.hdel(unacked_key, tag)
        if done := bool(held):
            message, exchange, routing_key = loads(bytes_to_str(held))
            channel._do_restore_message(message, exchange, routing_key, pipe)

    client.transaction(move, unacked_key)
    return done


def time_of(client: Any) -> float:
    """Return what time it is for Redis (seconds since 1970), which says of each message when it was taken."""
    seconds, microseconds = client.time()
    return float(seconds) + float(microseconds) / 1e6


def recover(channel: Any, client: Any, own: Holder, visibility_timeout: float) -> dict[str, int]:
    """Put back what nobody works on; returns how many messages of which holder.

    `own` is registered again if Redis does not know it: it may have come back without the last second.
    """
    names = set(map(bytes_to_str, client.smembers(HOLDERS)))
    if str(own) not in names:
        client.sadd(HOLDERS, str(own))
    given_back: dict[str, int] = {}
    for name in sorted(names):
        holder = Holder.parse(name)
        if holder.lives_for(own):
            continue
        dead = holder.is_dead_for(own)
        keys = holder.unacked_key, holder.unacked_index_key
        count = _give_back_all(channel, client, keys, 0 if dead else visibility_timeout)
        if count:
            given_back[name] = count
        if dead and not client.hlen(holder.unacked_key):
            client.srem(HOLDERS, name)
    # Of a worker that had not loaded this package.
    keys = UNACKED, UNACKED_INDEX
    if count := _give_back_all(channel, client, keys, visibility_timeout):
        given_back[UNACKED] = count
    return given_back


def _give_back_all(channel: Any, client: Any, keys: tuple[str, str], seconds: float) -> int:
    """Put back what was delivered so long ago or longer."""
    if not client.zrange(keys[1], 0, 0):
        return 0
    until = time_of(client) - seconds if seconds else "+inf"
    # The newest first: each is put where the next one is taken, so the oldest ends up first.
    tags = client.zrange(keys[1], until, 0, desc=True, byscore=True)
    return sum(give_back(channel, client, keys, bytes_to_str(tag)) for tag in tags)
