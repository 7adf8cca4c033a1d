"""Which process holds which unacknowledged messages, so that those of a dead one go back at once.

kombu keeps all unacknowledged messages of all workers in one hash and gives one back only when it is older
than the visibility timeout, because it cannot tell who holds it. Here each worker process is a holder: it has
a hash and an index of its own, named after the process, and a set names all holders.

- The messages of a holder that is certainly dead go back as soon as a worker looks, which each worker does
  when it starts and every `unacked_restore_interval`. Dead for certain is a process of the same server that
  does not run, or that ran before the server's last start, whatever pool, generation or application it
  belonged to.
- The messages of a holder that certainly lives stay with it, however long a task takes.
- The messages of a holder that cannot be judged, because it is on another server, go back after the
  visibility timeout. Redis' clock alone says how long they were held: a host's clock may be wrong, or be set.
"""

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis import Redis
from redis.exceptions import ResponseError

from rootstock_worker.envelope import DELIVERIES
from rootstock_worker.refusals import is_full

#: The set of all holders, in the broker's database.
HOLDERS = "rootstock.holders"
#: When each holder last said that it lives (sorted set of names by Redis' time).
HOLDERS_SEEN = "rootstock.holders_seen"
#: kombu's own names: what is held by workers without this package, and the beginning of each holder's own.
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"
#: How often a holder says that it lives.
SEEN_SECONDS = 15.0
#: How often holders of other servers are looked at, and kombu's own hash: what they lose goes back after the
#: visibility timeout, so this is soon enough. A tenth of that timeout where it is shorter.
FOREIGN_SECONDS = 60.0
#: An empty holder of another server that has said nothing for so long is forgotten. It registers again if it
#: lives, before it takes anything.
FORGET_SECONDS = 3600.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")
_SEPARATOR = "|"

#: Keys: the holder's hash and index, then the lists. Arguments: tag, message, LPUSH or RPUSH. Answers how
#: many messages were put back. The first command frees memory, so that a full Redis refuses none of the
#: others.
GIVE_BACK = """
local held = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if held == 1 then
  for i = 3, #KEYS do redis.call(ARGV[3], KEYS[i], ARGV[2]) end
end
return held
"""

#: Keys: set of holders, sorted set of when they were seen. Arguments: name, time. Likewise never refused.
REGISTER = """
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
"""

#: Keys: set of holders, sorted set of when they were seen, the holder's hash. Argument: name. In one step: a
#: command of the dead process that reaches Redis late finds it registered and full, or not registered.
FORGET = """
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('SREM', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
"""


def started(pid: int | str) -> str:
    """Return when a process was started (clock ticks since boot), empty if it is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The name, in brackets, may have blanks and brackets itself:
    # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def machine() -> str:
    """Return where a process id is unique, and on which server that is.

    Boot of the kernel, name space of process ids, start of its first process (a container that is started
    again may get the same name space under the same kernel), and the server's own id, which stays.
    https://www.freedesktop.org/software/systemd/man/latest/machine-id.html
    """
    identity = _MACHINE_ID.read_text().strip() if _MACHINE_ID.exists() else ""
    # Empty or "uninitialized" before the first boot has ended.
    server = identity if re.fullmatch("[0-9a-f]{32}", identity) else ""
    space = Path("/proc/self/ns/pid").readlink()
    return f"{_BOOT_ID.read_text().strip()}:{space}:{started(1)}:{server}"


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

    @property
    def space(self) -> str:
        """Where its process id is unique; shorter in the names that releases up to 0.1 wrote."""
        return self.machine.rpartition(":")[0] if self.server else self.machine

    @property
    def server(self) -> str:
        """The server's id with its host name, because copied servers may share the id; empty if not known."""
        *place, identity = self.machine.split(":")
        # boot, "pid", name space, first process, server
        return f"{identity}@{self.node.rpartition('@')[2]}" if identity and len(place) > 3 else ""

    def is_beside(self, own: Self) -> bool:
        """Whether both process ids are of one name space, so that one process can look for the other."""
        return self.space == own.space or (not self.server and own.space.startswith(f"{self.space}:"))

    def is_dead_for(self, own: Self) -> bool:
        """Whether the process `own` knows for certain that this one is dead."""
        if self == own:
            return False
        if self.is_beside(own):
            return started(self.pid) != self.started
        # All workers of a server run in one name space; one of another boot is gone. And a node's name is
        # unique.
        return self.node == own.node or bool(own.server and self.server == own.server)

    def lives_for(self, own: Self) -> bool:
        """Whether the process `own` knows for certain that this one lives."""
        return self.is_beside(own) and not self.is_dead_for(own)


def is_due(payload: dict[str, Any]) -> bool:
    """Whether a message may have been begun: not while its ETA lies ahead."""
    eta = (payload.get("headers") or {}).get("eta")
    if not isinstance(eta, str):
        return True
    try:
        at = datetime.fromisoformat(eta)
    except ValueError:
        return True
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) <= datetime.now(UTC)


def give_back(
    channel: Any,
    client: Any,
    keys: tuple[str, str],
    tag: str,
    *,
    count: str = DELIVERIES,
    last: bool = False,
) -> bool:
    """Put a message back into its queue, unless somebody has just done so; returns whether it was done.

    `count` names the counter in its delivery_info that this adds to; empty: none. It is the next message of
    its queue, or the last one.
    """
    prefix, (unacked_key, index_key) = channel.global_keyprefix, keys
    held = client.hget(unacked_key, tag)
    if held is None:
        client.zrem(index_key, tag)
        return False
    payload, exchange, routing_key = loads(bytes_to_str(held))
    delivery = payload["properties"]["delivery_info"]
    delivery["redelivered"] = True
    payload.setdefault("headers", {})["redelivered"] = True
    if count and (count != DELIVERIES or is_due(payload)):
        delivery[count] = delivery.get(count, 0) + 1
    priority = channel._get_message_priority(payload, reverse=False)
    # An exchange that nobody has bound: better where the message was sent than nowhere.
    queues = channel._lookup(exchange, routing_key) or [routing_key]
    lists = [prefix + channel._q_for_pri(queue, priority) for queue in queues]
    names = [prefix + unacked_key, prefix + index_key, *lists]
    push = "LPUSH" if last else "RPUSH"
    return bool(client.eval(GIVE_BACK, len(names), *names, tag, dumps(payload), push))


def ranked(channel: Any, key: str, *bounds: Any, **options: Any) -> list[Any]:
    """ZRANGE, whose key kombu's client puts the prefix before since 5.7 only."""
    client: Any = Redis(connection_pool=channel.pool)
    return list(client.zrange(channel.global_keyprefix + key, *bounds, **options))


def time_of(client: Any) -> float:
    """Return what time it is for Redis (seconds since 1970), which says of each message when it was taken."""
    seconds, microseconds = client.time()
    return float(seconds) + float(microseconds) / 1e6


def register(channel: Any, client: Any, own: Holder, now: float) -> None:
    """Say that this process lives; a full Redis accepts it, too."""
    prefix = channel.global_keyprefix
    client.eval(REGISTER, 2, prefix + HOLDERS, prefix + HOLDERS_SEEN, str(own), f"{now:.3f}")


def say_alive(channel: Any, client: Any, own: Holder) -> None:
    """Note that this registered process lives: two commands, where registering takes six."""
    now = time_of(client)
    try:
        client.zadd(HOLDERS_SEEN, {str(own): now})
    except ResponseError as error:
        if not is_full(error):
            raise
        register(channel, client, own, now)


class Recovery:
    """Puts back what nobody works on, and says that this process lives; one for each broker of a process."""

    def __init__(self) -> None:
        #: time.monotonic() of the last time that each was done.
        self._seen = self._foreign = float("-inf")

    def look(
        self, channel: Any, client: Any, own: Holder, visibility_timeout: float, *, first: bool = False
    ) -> dict[str, int]:
        """Return how many messages of which holder were put back. `first`: of a new connection, in full.

        `own` is registered again if Redis does not know it: Redis may have come back without the last second.
        """
        names = set(map(bytes_to_str, client.smembers(HOLDERS)))
        if str(own) not in names:
            register(channel, client, own, time_of(client))
            self._seen = time.monotonic()
        elif first or time.monotonic() - self._seen >= SEEN_SECONDS:
            say_alive(channel, client, own)
            self._seen = time.monotonic()
        given_back: dict[str, int] = {}
        holders = [Holder.parse(name) for name in sorted(names)]
        for holder in holders:
            if holder.is_dead_for(own):
                keys = holder.unacked_key, holder.unacked_index_key
                given_back[str(holder)] = _give_back_all(channel, client, keys, 0)
                _forget(channel, client, holder)
        if first or time.monotonic() - self._foreign >= min(FOREIGN_SECONDS, visibility_timeout / 10):
            others = [one for one in holders if not one.is_dead_for(own) and not one.lives_for(own)]
            given_back |= _look_at_others(channel, client, others, visibility_timeout)
            self._foreign = time.monotonic()
        return {name: count for name, count in given_back.items() if count}


def _look_at_others(
    channel: Any, client: Any, others: list[Holder], visibility_timeout: float
) -> dict[str, int]:
    """Put back what holders of other servers have held for too long; forget those that are gone."""
    # Of a worker that has not loaded this package.
    found = {UNACKED: _give_back_all(channel, client, (UNACKED, UNACKED_INDEX), visibility_timeout)}
    if not others:
        return found
    now = time_of(client)
    seen = {bytes_to_str(name): at for name, at in ranked(channel, HOLDERS_SEEN, 0, -1, withscores=True)}
    for holder in others:
        name = str(holder)
        keys = holder.unacked_key, holder.unacked_index_key
        found[name] = _give_back_all(channel, client, keys, visibility_timeout)
        # An older release of this package says nothing, and may live.
        if name in seen and now - float(seen[name]) > max(FORGET_SECONDS, visibility_timeout):
            _forget(channel, client, holder)
    return found


def _forget(channel: Any, client: Any, holder: Holder) -> None:
    """Remove a holder that holds nothing from the set of holders."""
    prefix = channel.global_keyprefix
    keys = prefix + HOLDERS, prefix + HOLDERS_SEEN, prefix + holder.unacked_key
    client.eval(FORGET, 3, *keys, str(holder))


def _give_back_all(channel: Any, client: Any, keys: tuple[str, str], seconds: float) -> int:
    """Put back what was delivered so long ago or longer."""
    if not ranked(channel, keys[1], 0, 0):
        return 0
    until = time_of(client) - seconds if seconds else "+inf"
    # The newest first: each is put where the next one is taken, so the oldest ends up first.
    tags = ranked(channel, keys[1], until, 0, desc=True, byscore=True)
    return sum(give_back(channel, client, keys, bytes_to_str(tag)) for tag in tags)
