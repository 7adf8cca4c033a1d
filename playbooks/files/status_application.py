"""Ask what an application's own connections say: database, cache, broker, queues, workers, results.

Runs in the application's environment, virtual environment and release directory; changes nothing. Arguments:
the Celery application; a JSON object of this host's worker nodes without their host name to the queues that
they should consume. Prints a JSON object per line for each part, {part: {"value": …} or {"error": text}}, so
that a part that hangs takes nothing from those before it. Passwords in URLs are masked. What only the
application has installed is imported where it is used: a package that is missing is the fault of one part.
"""

# The application's environment has these.
# mypy: disable-error-code="import-not-found"

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, NamedTuple

# All of it is waited for, because nobody knows how many workers there are; a busy server needs more than one.
ANSWER_SECONDS = 5.0
# Shorter than the time that the caller waits for all parts.
CONNECT_SECONDS = 5.0
ERROR_CHARACTERS = 200
# Unacknowledged messages are read whole, the oldest first: beyond this only their number is known.
MESSAGES_READ = 5000
MESSAGES_AT_ONCE = 200
NAME_CHARACTERS = 100
# A database with more keys is not searched for queues that no pool names: it would keep Redis busy.
KEYS_SEARCHED = 1_000_000
# The names that the package rootstock_worker of role celery gives its keys and its header.
HOLDERS, HOLDERS_SEEN = "rootstock.holders", "rootstock.holders_seen"
DEAD_LETTERS, SENT_AT = "rootstock.dead_letters", "rootstock_sent_at"
INFO = (
    "aof_enabled",
    "aof_last_bgrewrite_status",
    "aof_last_write_status",
    "loading",
    "maxmemory",
    "maxmemory_policy",
    "mem_not_counted_for_evict",
    "used_memory",
)

#: Routing key, pattern (a regular expression, may be empty), queue: how kombu writes a binding.
Binding = tuple[str, str, str]


class Unacknowledged(NamedTuple):
    """An unacknowledged message; times are Redis' own, in seconds since 1970."""

    taken: float
    #: From when on a worker could run it: since it was taken, or since its ETA.
    due: float
    task: str
    #: The time limit of this call, in seconds; 0 if the call has none of its own.
    time_limit: float
    exchange: str
    routing_key: str


class Holder(NamedTuple):
    """A worker process with the package rootstock_worker; all processes without it are one without a name."""

    name: str
    #: Redis' time when the process last said that it lives; None if an older package never says it.
    seen: float | None
    unacknowledged: int
    #: The oldest delivery tags, at most MESSAGES_READ, with the time when each was taken.
    tags: list[tuple[bytes, float]]

    @property
    def suffix(self) -> str:
        """The end of the keys of its messages."""
        return f".{self.name}" if self.name else ""


def described(error: BaseException) -> str:
    """Kind and first line of an error, without the users and passwords of URLs."""
    text = " ".join(str(error).split("\n", 1)[0].split())
    return re.sub(r"://\S*@", "://**@", f"{type(error).__name__}: {text}")[:ERROR_CHARACTERS]


# --- Django


def load(application: str) -> Any:
    """Return the Celery application with Django set up. Raises whatever the application raises."""
    import django
    from celery.app.utils import find_app

    django.setup()
    app = find_app(application)
    # Only an imported task says its time limit.
    app.loader.import_default_modules()
    app.finalize()
    return app


def settings(app: Any) -> dict[str, Any]:
    """What the figures are judged by: seconds, and where beat keeps its schedule."""
    options = app.conf.broker_transport_options or {}
    return {
        "visibility_timeout": options.get("visibility_timeout", 3600),
        # Of tasks that say none themselves, in a worker whose command line does not say one either.
        "default_time_limit": app.conf.task_time_limit,
        "default_prefetch_multiplier": app.conf.worker_prefetch_multiplier,
        "longest_task_time_limit": max((task.time_limit or 0 for task in app.tasks.values()), default=0),
        "beat_scheduler": str(app.conf.beat_scheduler),
        "beat_max_loop_interval": app.conf.beat_max_loop_interval or 300,
    }


def database() -> None:
    """Raises an error of the driver where a database does not answer."""
    from django.db import connections

    for connection in connections.all():
        connection.ensure_connection()


def cache() -> None:
    """Raises an error of the client where a cache does not answer."""
    from django.core.cache import caches

    for alias in caches:
        caches[alias].get("rootstock-status")


# --- Broker


class Broker:
    """The application's own connection to its broker. Raises the client's error where it is refused."""

    def __init__(self, app: Any) -> None:
        timeouts = {"socket_timeout": CONNECT_SECONDS, "socket_connect_timeout": CONNECT_SECONDS}
        self.app = app
        self.connection = app.connection_for_write(transport_options=timeouts)
        self.is_redis = self.connection.transport.driver_type == "redis"
        if self.is_redis:
            from redis import Redis

            # PINGs, which Redis refuses as well while it loads or cannot write its files.
            self.channel = self.connection.channel()
            # Kombu's own client puts the prefix before the keys of some commands only.
            self.client = Redis(connection_pool=self.channel.pool)
            self.prefix = self.channel.global_keyprefix

    def info(self) -> dict[str, Any] | None:
        """Figures of Redis, and what tells one broker from another; None if the broker is something else."""
        if not self.is_redis:
            return None
        from redis.exceptions import NoPermissionError

        try:
            info = self.client.info()
        except NoPermissionError:
            info = {}
        number = self.client.connection_pool.connection_kwargs.get("db", 0)
        identity = [str(info.get("run_id", "")), str(number), self.prefix]
        return {"identity": identity, **{name: info.get(name) for name in INFO}}

    def bindings(self) -> dict[str, list[Binding]]:
        """Bindings by exchange, of the exchanges that the application declares or that Redis knows."""
        key = self.prefix + self.channel.keyprefix_queue
        exchanges = {queue.exchange.name for queue in self.app.amqp.queues.values() if queue.exchange}
        if self.client.dbsize() <= KEYS_SEARCHED:
            start = key % ""
            names = self.client.scan_iter(match=glob_escaped(start) + "*", count=1000)
            exchanges |= {name.decode()[len(start) :] for name in names}
        mailbox = self.app.control.mailbox
        exchanges -= {mailbox.exchange.name, mailbox.reply_exchange.name, self.app.conf.event_exchange}
        return {
            exchange: [
                as_binding(member, self.channel.sep) for member in self.client.smembers(key % exchange)
            ]
            for exchange in sorted(exchanges)
        }

    def keys_of(self, queue: str) -> list[str]:
        """The lists of a queue: one for each priority."""
        steps = ["", *(f"{self.channel.sep}{step}" for step in self.channel.priority_steps if step)]
        return [f"{self.prefix}{queue}{step}" for step in steps]

    def waiting(self, queues: Iterable[str]) -> dict[str, int]:
        """Messages of all priorities that no worker has taken yet, by queue.

        Not by queue_declare(): its MULTI is refused when Redis is full, which is when somebody asks.
        """
        names = list(queues)
        pipe = self.client.pipeline(transaction=False)
        for name in names:
            for key in self.keys_of(name):
                pipe.llen(key)
        lengths = iter(pipe.execute())
        return {name: sum(int(next(lengths)) for _ in self.keys_of(name)) for name in names}

    def waiting_since(self, queues: Iterable[str]) -> dict[str, float]:
        """When the oldest waiting message was published, by queue; those that do not say it are left out."""
        names = list(queues)
        pipe = self.client.pipeline(transaction=False)
        for name in names:
            for key in self.keys_of(name):
                pipe.lindex(key, -1)
        oldest = iter(pipe.execute())
        found = {name: [sent_at(next(oldest)) for _ in self.keys_of(name)] for name in names}
        return {name: min(filter(None, times)) for name, times in found.items() if any(times)}

    def holders(self) -> tuple[float, list[Holder]]:
        """What time it is for Redis (seconds since 1970), and all holders: two exchanges, however many."""
        pipe = self.client.pipeline(transaction=False)
        pipe.smembers(f"{self.prefix}{HOLDERS}")
        pipe.zrange(f"{self.prefix}{HOLDERS_SEEN}", 0, -1, withscores=True)
        # A host's clock may be wrong, and all times in these keys are Redis' own.
        pipe.time()
        members, scores, (seconds, microseconds) = pipe.execute()
        seen = {name.decode(): float(score) for name, score in scores}
        names = ["", *sorted(name.decode() for name in members)]
        for name in names:
            index = f"{self.prefix}{self.channel.unacked_index_key}{f'.{name}' if name else ''}"
            pipe.zcard(index)
            pipe.zrange(index, 0, MESSAGES_READ - 1, withscores=True)
        answers = iter(pipe.execute())
        found = [Holder(name, seen.get(name), int(next(answers)), next(answers)) for name in names]
        return float(seconds) + float(microseconds) / 1e6, found

    def held_by(self, holder: Holder) -> list[Unacknowledged]:
        """The oldest unacknowledged messages of a holder."""
        messages = f"{self.prefix}{self.channel.unacked_key}{holder.suffix}"
        found = []
        for start in range(0, len(holder.tags), MESSAGES_AT_ONCE):
            some = holder.tags[start : start + MESSAGES_AT_ONCE]
            for (_, since), raw in zip(
                some, self.client.hmget(messages, [tag for tag, _ in some]), strict=True
            ):
                if raw is not None:  # acknowledged meanwhile
                    found.append(as_unacknowledged(raw, float(since), self.app.timezone))
        return found

    def queues(self, named: Iterable[str]) -> dict[str, Any] | None:
        """Figures of the queues that pools name and of all that have messages; ages in seconds."""
        if not self.is_redis:
            return None
        bindings = self.bindings()
        now, holders = self.holders()
        held = [(holder, self.held_by(holder)) for holder in holders]
        messages = [message for _, some in held for message in some]
        ages: dict[str, list[float]] = {}
        for message in messages:
            bound = bindings.get(message.exchange, [])
            for queue in destinations(message.routing_key, bound) or [message.routing_key]:
                ages.setdefault(queue, []).append(max(0.0, now - message.taken))
        known = {queue for members in bindings.values() for _, _, queue in members}
        waiting = self.waiting(known | set(named))
        published = self.waiting_since(queue for queue, count in waiting.items() if count)
        return {
            "unacknowledged": sum(holder.unacknowledged for holder in holders),
            "dead_letters": int(self.client.hlen(f"{self.prefix}{DEAD_LETTERS}")),
            # A call may have a longer time limit than its task.
            "longest_call_time_limit": max((message.time_limit for message in messages), default=0),
            "holders": [as_figures(holder, some, now) for holder, some in held],
            "queues": [
                {
                    "name": queue,
                    "waiting": waiting.get(queue, 0),
                    "oldest_waiting": max(0.0, now - published[queue]) if queue in published else None,
                    "unacknowledged": len(ages.get(queue, [])),
                    "oldest_unacknowledged": max(ages[queue]) if queue in ages else None,
                }
                for queue in sorted(set(waiting) | set(ages))
                if queue in named or waiting.get(queue) or queue in ages
            ],
        }

    def workers(self, nodes: Iterable[str]) -> dict[str, Any]:
        """All nodes that answer, with their queues, and the names of those that should on this host."""
        from celery.utils.nodenames import gethostname

        inspect = self.app.control.inspect(timeout=ANSWER_SECONDS, connection=self.connection)
        answers = inspect.active_queues() or {}
        return {
            "nodes": {node: [queue["name"] for queue in queues] for node, queues in answers.items()},
            "expected": [f"{node}@{gethostname()}" for node in nodes],
        }


def sent_at(item: bytes | None) -> float | None:
    """When a message was published (seconds since 1970), if it says so and is one."""
    try:
        return float(json.loads(item or b"")["headers"][SENT_AT])
    except (ValueError, TypeError, KeyError):
        return None


def as_unacknowledged(raw: bytes, taken: float, timezone: tzinfo) -> Unacknowledged:
    """A message as kombu keeps it until it is acknowledged; what its headers do not say counts as absent."""
    message, exchange, routing_key = json.loads(raw)
    headers = message.get("headers") or {}
    return Unacknowledged(
        taken,
        max(taken, eta(headers, timezone) or taken),
        str(headers.get("task", ""))[:NAME_CHARACTERS],
        own_time_limit(headers),
        str(exchange),
        str(routing_key),
    )


def eta(headers: Mapping[str, Any], timezone: tzinfo) -> float | None:
    """Until when a worker holds a message on purpose (seconds since 1970), if its publisher wants that."""
    try:
        moment = datetime.fromisoformat(headers["eta"])
    except (KeyError, TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone)).timestamp()


def own_time_limit(headers: Mapping[str, Any]) -> float:
    """The hard time limit that a call has been given; 0 if it has none."""
    try:
        return float(headers["timelimit"][0] or 0)
    except (KeyError, TypeError, ValueError, IndexError):
        return 0.0


def as_figures(holder: Holder, messages: Iterable[Unacknowledged], now: float) -> dict[str, Any]:
    """What is judged of a holder: ages in seconds; the machine is what a process id is unique in."""
    node, machine, *_ = [*holder.name.rsplit("|", 3), ""]
    # A worker holds a message with an ETA on purpose until then.
    oldest = min((message for message in messages if message.due <= now), key=lambda m: m.due, default=None)
    return {
        "node": node,
        "machine": machine,
        "unacknowledged": holder.unacknowledged,
        "oldest_unacknowledged": max(0.0, now - holder.tags[0][1]) if holder.tags else None,
        "oldest_due": now - oldest.due if oldest else None,
        "task": oldest.task if oldest else "",
        "seen": None if holder.seen is None else max(0.0, now - holder.seen),
    }


def glob_escaped(text: str) -> str:
    """The pattern of Redis that matches exactly this text."""
    return re.sub(r"([\\*?\[\]^])", r"\\\1", text)


def as_binding(member: bytes, separator: str) -> Binding:
    """A member of a set of bindings as kombu has written it."""
    routing_key, pattern, queue = member.decode().split(separator)
    return routing_key, pattern, queue


def destinations(routing_key: str, bindings: Iterable[Binding]) -> list[str]:
    """The queues to which an exchange with these bindings delivers a message."""
    return [
        queue
        for bound, pattern, queue in bindings
        if bound == routing_key or (pattern and re.match(pattern, routing_key))
    ]


def results(app: Any) -> None:
    """Raises an error of redis where the result backend is a Redis that does not answer."""
    from celery.backends.redis import RedisBackend

    if isinstance(app.backend, RedisBackend):
        app.backend.client.ping()


# --- All of it


class Answers:
    """What has been found out, printed part by part."""

    def __init__(self) -> None:
        # What the application itself prints must not come between.
        self.output = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def ask(self, part: str, question: Callable[[], Any]) -> None:
        """Print the answer to a question, or its error."""
        answer = self.attempt(part, lambda: {"value": question()})
        if answer is not None:
            self.say(part, answer)

    def attempt(self, part: str, step: Callable[[], Any]) -> Any:
        """Return what a step returns; None, and its error printed, where it fails."""
        try:
            return step()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the application raises is reported, 2026-11-24
            self.say(part, {"error": described(error)})
        return None

    def say(self, part: str, answer: Mapping[str, Any]) -> None:
        """Print a line at once."""
        print(json.dumps({part: answer}), file=self.output, flush=True)


def main(application: str, pools: str) -> int:
    """Exit status: always 0, because what is wrong is for the caller to judge."""
    nodes: Mapping[str, list[str]] = json.loads(pools)
    named = {queue for queues in nodes.values() for queue in queues}
    answers = Answers()
    app = answers.attempt("start", partial(load, application))
    if app is None:
        return 0
    answers.ask("settings", partial(settings, app))
    answers.ask("database", database)
    answers.ask("cache", cache)
    broker = answers.attempt("broker", partial(Broker, app))
    if broker is not None:
        answers.ask("broker", broker.info)
        answers.ask("queues", partial(broker.queues, named))
        answers.ask("workers", partial(broker.workers, list(nodes)))
    answers.ask("results", partial(results, app))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
