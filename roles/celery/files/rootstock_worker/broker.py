"""kombu's Redis transport with four more duties, for the connections of a worker.

Each process's unacknowledged messages are its own (holders), and taking one notes it there in the same step
(taking). A Redis that is full does not end the worker, nor does what is no message: one list entry that is
not JSON raises in kombu where nobody catches it. And a message is delivered a limited number of times: a task
that kills its process would otherwise do so for ever. And it is back as soon after a long outage as after a
short one.
"""

# kombu has no types, and a mixin of its channels does not say what it is mixed into.
# mypy: disable-error-code="misc, attr-defined"

import logging
import threading
import time
from math import inf
from typing import Any

import kombu
import kombu.transport
from celery.app.amqp import AMQP
from celery.signals import worker_init, worker_process_init, worker_shutdown
from celery.worker import state
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str

from rootstock_worker.envelope import DELIVERIES
from rootstock_worker.holders import Holder, give_back, recover, time_of
from rootstock_worker.taking import FULL_SECONDS, WAIT_SECONDS, State, Taking

logger = logging.getLogger(__name__)

#: How long a message may be noted here and known to nobody, before it is given back: the end of a cut
#: connection may reach Redis, with what was on its way, after the next one is there.
UNKNOWN_SECONDS = 10.0
#: Between two tries to reach Redis. Left alone, kombu waits two seconds longer each time, up to 30.
RETRY_SECONDS = 2.0


def running() -> set[str]:
    """Return the delivery tags of the tasks that run in this worker."""
    return {request.message.delivery_tag for request in tuple(state.active_requests)}


def is_ending() -> bool:
    """Whether this worker has been told to end."""
    return state.should_stop is not None or state.should_terminate is not None


class QoS(redis.QoS):
    """Asks at kombu's own interval what dead processes have left, and bears a Redis that is full.

    Such a Redis gives messages away. It refuses to note who has them, and whatever is in a transaction,
    so that nothing is acknowledged either. kombu ends the worker then, and what it ran is begun again by
    the next one, which ends in the same way.
    """

    #: time.monotonic() until which no more is taken.
    paused_until = 0.0

    def append(self, message: Any, delivery_tag: str) -> None:
        if delivery_tag == State.noted:
            State.noted = None
            virtual.QoS.append(self, message, delivery_tag)
            return
        try:
            super().append(message, delivery_tag)
        except self.channel.ResponseError as error:
            logger.error(
                "Redis refuses to note that message %s is held here (%s): it is run all the same, and lost "
                "if this worker dies meanwhile; no other is taken for %g s",
                delivery_tag,
                error,
                FULL_SECONDS,
            )
            self.channel.pause(FULL_SECONDS)
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """With the loop's next turn; at once where there is no loop, or it will not come round again."""
        if threading.get_ident() == State.loop and not is_ending():
            self.channel.done.append(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        """Without a transaction: a tag in the index alone is forgotten by whoever gives messages back."""
        if pipe is None:
            with self.channel.conn_or_acquire() as client:
                pipe = client.pipeline(transaction=False)
        return pipe.hdel(self.unacked_key, delivery_tag).zrem(self.unacked_index_key, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Of a lost connection: what runs goes on, and is acknowledged by another one."""
        if not is_ending():
            for tag in running():
                self._delivered.pop(tag, None)
        super().restore_unacked(client)

    def can_consume(self) -> bool:
        return time.monotonic() >= self.paused_until and bool(super().can_consume())

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """What this process works on stays with it, however long it takes."""
        # As kombu does: it counts its calls, and acts on each `interval`th one.
        self._vrestore_count += 1
        if (self._vrestore_count - 1) % (interval or 1):
            return
        try:
            self.channel.recover()
            self.channel.give_back_unknown(UNKNOWN_SECONDS)
        except self.channel.ResponseError as error:
            logger.error("messages of dead workers cannot be given back now: %s", error)


class Guard(Taking):
    """What is added to a channel of kombu's, with or without Sentinel."""

    QoS = QoS
    #: A worker that ends in order gives back what it had not begun, and one that has lost its connection what
    #: it does not know any more: nobody died of that.
    _nobody_died = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        broker = self.connection.client
        self.done = State.done.setdefault((broker.hostname, broker.port, broker.virtual_host), [])
        # After the application's transport options, which may name keys for all.
        if State.holder:
            self.unacked_key, self.unacked_index_key = (
                State.holder.unacked_key,
                State.holder.unacked_index_key,
            )
            # By this kombu tells that an answer is overdue.
            self.brpop_timeout = WAIT_SECONDS

    def recover(self) -> None:
        """Put back what nobody works on."""
        if State.holder is None:
            return
        with self.conn_or_acquire() as client:
            for name, count in recover(self, client, State.holder, self.visibility_timeout).items():
                logger.warning("recovered: %d messages that %s held are back in their queues", count, name)

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
        known = running().union(*(channel.qos._delivered for channel in channels))
        keys = State.holder.unacked_key, State.holder.unacked_index_key
        self._nobody_died = True
        try:
            with self.conn_or_acquire() as client:
                held = client.zrange(keys[1], 0, -1, withscores=True)
                unknown = {bytes_to_str(tag): since for tag, since in held if bytes_to_str(tag) not in known}
                newest = time_of(client) - seconds if unknown and seconds else inf
                tags = sorted(tag for tag, since in unknown.items() if since <= newest)
                count = sum(give_back(self, client, keys, tag) for tag in tags)
        finally:
            self._nobody_died = False
        if count:
            logger.warning("recovered: %d messages that the lost connection had brought are back", count)

    def basic_consume(self, queue: str, no_ack: bool = False, *args: Any, **kwargs: Any) -> Any:
        if not no_ack and not self._active_queues:
            self.recover()
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

    def _do_restore_message(self, payload: Any, *args: Any, **kwargs: Any) -> None:
        if not self._nobody_died:
            delivery = payload["properties"]["delivery_info"]
            delivery[DELIVERIES] = delivery.get(DELIVERIES, 0) + 1
        super()._do_restore_message(payload, *args, **kwargs)


class Poller(redis.MultiChannelPoller):
    """Sends the scripts at the beginning of each turn of the event loop, before it waits."""

    def on_poll_start(self) -> None:
        super().on_poll_start()
        for channel in tuple(self._channels):
            channel.acknowledge()


class Polled:
    """For a transport of kombu's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, *args: Any) -> None:
        State.loop = threading.get_ident()
        super().register_with_event_loop(*args)


class Channel(Guard, redis.Channel):
    """A channel of redis:// and rediss://."""


class Transport(Polled, redis.Transport):
    Channel = Channel


class SentinelChannel(Guard, redis.SentinelChannel):
    """A channel of sentinel://."""


class SentinelTransport(Polled, redis.SentinelTransport):
    Channel = SentinelChannel


class Connection(kombu.Connection):
    """A worker's: Celery has no setting for how long it waits between two tries."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        return super().ensure_connection(*args, **{"interval_max": RETRY_SECONDS, **kwargs})


def on_init(sender: Any, **_: object) -> None:
    """The worker knows its name and has not connected yet."""
    State.holder = Holder.this(sender.hostname)


def on_process_init(**_: object) -> None:
    """What a child consumes by itself is its own: it does not know what the worker holds, and has no loop."""
    State.holder = State.loop = None


def on_shutdown(sender: Any, **_: object) -> None:
    """After an error that ends the worker, no loop tells what it has waited for."""
    if any(State.done.values()):
        with sender.app.connection_for_read() as connection, connection.channel() as channel:
            channel.acknowledge()


def install() -> None:
    """Have all connections that are made from now on be of these classes."""
    AMQP.Connection = Connection
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
