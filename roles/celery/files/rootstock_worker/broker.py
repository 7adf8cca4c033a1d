"""kombu's Redis transport with more duties, for the connections of a worker.

Each process's unacknowledged messages are its own (holders), and taking one notes it there in the same step
(taking). A message is delivered a limited number of times: a task that kills its process would otherwise do
so for ever. What is no message does not end the worker: one list entry that is not JSON raises in kombu where
nobody catches it. And after a long outage the worker is back as soon as after a short one.

A full Redis refuses commands that need memory, and every command in a transaction. kombu's worker ends of
either, and the next one does not start. Here nothing is sent in a transaction that does not rest on one, and
what a worker must write to go on is written by scripts that free memory first: Redis refuses them nothing.
"""

# kombu has no types, and a mixin of its channels does not say what it is mixed into.
# mypy: disable-error-code="misc, attr-defined"

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from math import inf
from typing import Any

import kombu
import kombu.transport
from celery.app.amqp import AMQP
from celery.bootsteps import StartStopStep
from celery.signals import worker_init, worker_process_init, worker_shutdown
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.consumer.tasks import Tasks
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError, ResponseError

from rootstock_worker.envelope import DELIVERIES, PUT_BACKS
from rootstock_worker.holders import Holder, Recovery, give_back, ranked, time_of
from rootstock_worker.publishing import Allowance
from rootstock_worker.refusals import is_full, is_refusal
from rootstock_worker.taking import REFUSED_SECONDS, WAIT_SECONDS, State, Taking

logger = logging.getLogger(__name__)

#: How long a message may be noted here and known to nobody, before it is given back: the end of a cut
#: connection may reach Redis, with what was on its way, after the next one is there.
UNKNOWN_SECONDS = 10.0
#: Between two looks for what dead processes have left.
LOOK_SECONDS = 10.0
#: Between two tries to reach Redis. Left alone, kombu waits two seconds longer each time, up to 30.
RETRY_SECONDS = 2.0


def running() -> set[str]:
    """Return the delivery tags of the tasks that run in this worker."""
    return {request.message.delivery_tag for request in tuple(state.active_requests)}


def is_ending() -> bool:
    """Whether this worker has been told to end."""
    return state.should_stop is not None or state.should_terminate is not None


#: Keys: the sets that name a binding. Argument: the binding. The first command frees memory, so that a full
#: Redis refuses none of the others; in between nobody sees the set without it.
BIND = """
for _, key in ipairs(KEYS) do redis.call('SREM', key, ARGV[1]) end
for _, key in ipairs(KEYS) do redis.call('SADD', key, ARGV[1]) end
"""
#: Keys: a key that nothing has, the list. Argument: the message. Likewise.
PUBLISH = """
redis.call('DEL', KEYS[1])
return redis.call('LPUSH', KEYS[2], ARGV[1])
"""
NOTHING = "rootstock.nothing"


@contextmanager
def away_while_refusing() -> Iterator[None]:
    """Have a worker wait for a Redis that refuses to write as for one that is away; not for a full one."""
    try:
        yield
    except ResponseError as error:
        if is_full(error) or not is_refusal(error):
            raise
        raise NoConnection(f"Redis refuses to write: {error}") from error


class QoS(redis.QoS):
    """Bears a Redis that refuses to write, and puts messages back by the holder's own script."""

    #: time.monotonic() until which no more is taken.
    paused_until = 0.0

    def append(self, message: Any, delivery_tag: str) -> None:
        if delivery_tag == State.noted:
            State.noted = None
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """With the loop's next turn; at once where there is no loop, or it will not come round again."""
        State.carried.discard(delivery_tag)
        if threading.get_ident() == State.loop and not is_ending():
            self.channel.done.append(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)
            return
        try:
            super().ack(delivery_tag)
        except RedisError:
            if not is_ending():
                raise
            # The worker tries once more when it has ended.
            self.channel.done.append(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        """Without a transaction: a tag in the index alone is forgotten by whoever gives messages back."""
        if pipe is None:
            with self.channel.conn_or_acquire() as client:
                pipe = client.pipeline(transaction=False)
        return pipe.hdel(self.unacked_key, delivery_tag).zrem(self.unacked_index_key, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Of a lost connection: what runs goes on, and is acknowledged by another one."""
        if not is_ending():
            known = (self._delivered.keys() - self._dirty) | State.carried
            State.carried = running() & known
            for tag in State.carried:
                self._delivered.pop(tag, None)
        super().restore_unacked(client)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """While Redis refuses it the message stays noted, and goes back as what nobody here knows."""
        State.carried.discard(delivery_tag)
        try:
            super().reject(delivery_tag, requeue)
        except self.channel.ResponseError as error:
            if not is_refusal(error):
                raise
            self.channel.pause(REFUSED_SECONDS, error)
            virtual.QoS.ack(self, delivery_tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        keys = self.unacked_key, self.unacked_index_key
        with self.channel.conn_or_acquire(client) as client:
            give_back(self.channel, client, keys, tag, count=self.channel.counter_of(tag), last=leftmost)

    def can_consume(self) -> bool:
        """Not while Redis refuses to write. What still runs although its connection was lost counts, too."""
        count = self.prefetch_count
        held = len(self._delivered) - len(self._dirty) + len(State.carried)
        return time.monotonic() >= self.paused_until and (not count or held < count)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """A worker looks by its own clock: kombu's is a hundred seconds before 5.7."""
        if State.holder is None:
            super().restore_visible(*args, **kwargs)


class Guard(Taking):
    """What is added to a channel of kombu's, with or without Sentinel."""

    QoS = QoS
    #: A worker that ends in order gives back what it had not begun, and one that has lost its connection what
    #: it does not know any more: nobody died of that.
    _nobody_died = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with away_while_refusing():
            # It PINGs, which a Redis refuses as well whose disk is full.
            super().__init__(*args, **kwargs)
        broker = self.connection.client
        name = broker.hostname, broker.port, broker.virtual_host
        self.done = State.done.setdefault(name, [])
        self.recovery = State.recoveries.setdefault(name, Recovery())
        #: The messages that are about to be put back because what follows them could not be published.
        self.put_backs: set[str] = set()
        # After the application's transport options, which may name keys for all.
        if State.holder:
            self.unacked_key, self.unacked_index_key = (
                State.holder.unacked_key,
                State.holder.unacked_index_key,
            )
            # By this kombu tells that an answer is overdue.
            self.brpop_timeout = WAIT_SECONDS

    def counter_of(self, tag: str) -> str:
        """Return which count of a message that goes back grows; empty: none."""
        if tag in self.put_backs:
            self.put_backs.discard(tag)
            return PUT_BACKS
        return "" if self._nobody_died else DELIVERIES

    def put_back(self, message: Any, *, acknowledged: bool) -> None:
        """Have a message go back that is about to be rejected; one that is acknowledged early, by itself."""
        if not acknowledged:
            self.put_backs.add(message.delivery_tag)
            return
        payload = message._raw
        delivery = payload["properties"]["delivery_info"]
        delivery[PUT_BACKS] = delivery.get(PUT_BACKS, 0) + 1
        State.unpublished.append((payload, delivery["exchange"], delivery["routing_key"]))
        try:
            self.publish_again()
        except (*self.connection_errors, self.ResponseError) as error:
            logger.error(
                "%d messages are published once Redis accepts them (%s)", len(State.unpublished), error
            )

    def publish_again(self) -> None:
        """Publish what was to be put back and could not be. Raises redis-py's errors."""
        while State.unpublished:
            payload, exchange, routing_key = State.unpublished[0]
            for queue in self._lookup(exchange, routing_key) or [routing_key]:
                self._put(queue, payload)
            State.unpublished.pop(0)

    def recover(self, *, first: bool = False) -> None:
        """Put back what nobody works on, and say that this process lives."""
        if State.holder is None:
            return
        self.publish_again()
        with self.conn_or_acquire() as client:
            found = self.recovery.look(self, client, State.holder, self.visibility_timeout, first=first)
        for name, count in found.items():
            logger.warning("recovered: %d messages that %s held are back in their queues", count, name)

    def look(self) -> None:
        """Do from time to time what is done at a new connection, too."""
        try:
            self.recover()
            self.give_back_unknown(UNKNOWN_SECONDS)
        except self.ResponseError as error:
            logger.error("messages of dead workers cannot be given back now: %s", error)

    def give_back_unknown(self, seconds: float = 0) -> None:
        """Put back what this process holds by its own keys, for so long or longer, and nobody in it knows.

        When Celery loses its connection it forgets all but the tasks that run: those with an ETA, those that
        were just taken. And what Redis has answered may never have arrived. These messages would wait for the
        visibility timeout.
        """
        if State.holder is None:
            return
        # What Redis has answered and nobody has read is not known yet.
        channels = [channel for channel in self.connection.channels if isinstance(channel, Guard)]
        if any(channel.answer_on_its_way() for channel in channels):
            self._in_doubt = True
            return
        self.acknowledge()
        # What is done, too, while Redis refuses to acknowledge it.
        known = running().union(self.done, *(channel.qos._delivered for channel in channels))
        keys = State.holder.unacked_key, State.holder.unacked_index_key
        with self.conn_or_acquire() as client:
            held = ranked(self, keys[1], 0, -1, withscores=True)
            unknown = {bytes_to_str(tag): since for tag, since in held if bytes_to_str(tag) not in known}
            newest = time_of(client) - seconds if unknown and seconds else inf
            tags = sorted(tag for tag, since in unknown.items() if since <= newest)
            count = sum(give_back(self, client, keys, tag, count="") for tag in tags)
        if count:
            logger.warning("recovered: %d messages that the lost connection had brought are back", count)

    def basic_consume(self, queue: str, no_ack: bool = False, *args: Any, **kwargs: Any) -> Any:
        if not no_ack and not self._active_queues:
            with away_while_refusing():
                self.recover(first=True)
                self.give_back_unknown()
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def _basic_cancel(self, consumer_tag: str) -> Any:
        # No script will come. When the connection is lost, this is done once there is another one.
        if is_ending():
            self.acknowledge()
        return super()._basic_cancel(consumer_tag)

    def close(self) -> None:
        self._nobody_died = True
        super().close()

    def _create_client(self, asynchronous: bool = False) -> Any:
        """kombu asks for a transaction wherever it sends several commands; where one counts it says so."""
        client = super()._create_client(asynchronous)
        pipeline = client.pipeline
        client.pipeline = lambda transaction=False, shard_hint=None: pipeline(transaction, shard_hint)
        return client

    @cached_property
    def _refresh_binding(self) -> Any:
        """kombu's script (5.7 and later) after a command that frees memory, so that a full Redis runs it."""
        script = "redis.call('SREM', KEYS[1], ARGV[1])" + redis.REFRESH_BINDING
        return self._create_client().register_script(script)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            with away_while_refusing():
                super()._queue_bind(exchange, routing_key, pattern, queue)
        except self.ResponseError:
            names = ["keyprefix_queue", "keyprefix_binding_permanent"]
            keys = [
                self.global_keyprefix + getattr(self, name) % exchange
                for name in names
                if hasattr(self, name)
            ]
            member = self.sep.join([routing_key or "", pattern or "", queue or ""])
            with self.conn_or_acquire() as client:
                client.eval(BIND, len(keys), *keys, member)

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        try:
            super()._put(queue, message, **kwargs)
        except self.ResponseError as error:
            if not (is_full(error) and Allowance.take()):
                raise
            key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
            keys = self.global_keyprefix + NOTHING, self.global_keyprefix + key
            with self.conn_or_acquire() as client:
                client.eval(PUBLISH, 2, *keys, dumps(message))


class Poller(redis.MultiChannelPoller):
    """Sends the scripts at the beginning of each turn of the event loop, before it waits."""

    def on_poll_start(self) -> None:
        super().on_poll_start()
        for channel in tuple(self._channels):
            channel.acknowledge()

    def look(self) -> None:
        """By the channel that consumes: all of a worker's have the same broker."""
        for channel in tuple(self._channels):
            if channel.active_queues:
                channel.look()
                return


class Polled:
    """For a transport of kombu's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        State.loop = threading.get_ident()
        super().register_with_event_loop(connection, loop)
        # kombu's own name for it, which kombu knows since 5.7.
        seconds = connection.client.transport_options.get("unacked_restore_interval") or LOOK_SECONDS
        # The loop may still have that of the last connection.
        if State.looks is not None:
            State.looks.cancel()
        State.looks = loop.call_repeatedly(seconds, self.cycle.look)


class Channel(Guard, redis.Channel):
    """A channel of redis:// and rediss://."""


class Transport(Polled, redis.Transport):
    Channel = Channel


class SentinelChannel(Guard, redis.SentinelChannel):
    """A channel of sentinel://."""


class SentinelTransport(Polled, redis.SentinelTransport):
    Channel = SentinelChannel


class LoopEnd(StartStopStep):
    """Acknowledges what the event loop would have with its next turn: a drain may take long."""

    requires = (Tasks,)

    def stop(self, parent: Any) -> None:
        """After the loop, before the connection is closed and the tasks are waited for."""
        cycle = getattr(parent.connection.transport, "cycle", None) if parent.connection else None
        if is_ending() and isinstance(cycle, Poller):
            State.loop = None
            for channel in tuple(cycle._channels):
                with suppress(RedisError):
                    channel.acknowledge()


class Connection(kombu.Connection):
    """A worker's: Celery has no setting for how long it waits between two tries."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        return super().ensure_connection(*args, **{"interval_max": RETRY_SECONDS, **kwargs})


def on_init(sender: Any, **_: object) -> None:
    """The worker knows its name and has not connected yet."""
    # Celery's own way to count what still runs after a lost connection sets the prefetch count back later. It
    # forgets tasks with an ETA: each takes one from the count when its time comes, until one is left.
    sender.app.conf.worker_enable_prefetch_count_reduction = False
    sender.app.steps["consumer"].add(LoopEnd)
    State.holder = Holder.this(sender.hostname)


def on_process_init(**_: object) -> None:
    """What a child consumes by itself is its own: it does not know what the worker holds, and has no loop."""
    State.holder = State.loop = None


def without_loop(call_soon: Callable[..., Any]) -> Callable[..., Any]:
    """Return Celery's way to have the event loop do something, which does it itself once that has ended.

    Celery keeps it until the worker ends. So a task that ends in a drain would stay unacknowledged as long as
    any other task runs, and would be done again if the worker was killed meanwhile.
    """

    def call(consumer: Any, what: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if is_ending() and State.loop is None:
            return what(*args, **kwargs)
        return call_soon(consumer, what, *args, **kwargs)

    return call


def on_shutdown(sender: Any, **_: object) -> None:
    """After an error that ends the worker, no loop tells what it has waited for."""
    if any(State.done.values()):
        with sender.app.connection_for_read() as connection, connection.channel() as channel:
            channel.acknowledge()


def install() -> None:
    """Have all connections that are made from now on be of these classes."""
    AMQP.Connection = Connection
    Consumer.call_soon = without_loop(Consumer.call_soon)
    for alias, name in (
        ("redis", "Transport"),
        ("rediss", "Transport"),
        ("sentinel", "SentinelTransport"),
    ):
        kombu.transport.TRANSPORT_ALIASES[alias] = f"{__name__}:{name}"
        # An application may have connected while it was imported.
        kombu.transport._transport_cache.pop(alias, None)
    worker_init.connect(on_init, weak=False)
    worker_process_init.connect(on_process_init, weak=False)
    worker_shutdown.connect(on_shutdown, weak=False)
