"""kombu's Redis transport with four more duties, for the connections of a worker.

Each process's unacknowledged messages are its own (holders). A Redis that is full does not end the worker,
nor does what is no message: one list entry that is not JSON raises in kombu where nobody catches it. And a
message is delivered a limited number of times: a task that kills its process would otherwise do so for ever.

The last two look at what BRPOP has returned before kombu sees it. A refused entry is set aside, and kombu is
told that the queue was empty. Between the answer to BRPOP and that, as between it and kombu's own note of a
message, an entry exists in this process only: kombu's protocol has that gap, and it is not closed here.
"""

# kombu has no types, and a mixin of its channels does not say what it is mixed into.
# mypy: disable-error-code="misc, attr-defined"

import binascii
import json
import logging
import os
import time
from base64 import b64decode
from typing import Any

import kombu.transport
from celery.signals import worker_init
from celery.worker import state
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str

from rootstock_worker import dead_letters
from rootstock_worker.holders import Holder, give_back, recover

logger = logging.getLogger(__name__)

#: How often a message was given back after its process had died, in its delivery_info: kombu's own note,
#: `redelivered`, does not count.
DELIVERIES = "rootstock_deliveries"
DEFAULT_LIMIT = 5
#: How long nothing is taken from a Redis that has refused to note it.
FULL_SECONDS = 5.0


def limit_of(variable: str = "ROOTSTOCK_MAX_DELIVERIES") -> int:
    """Return how often a message is delivered at most. Raises ValueError for what is no positive number."""
    value = os.environ.get(variable, str(DEFAULT_LIMIT))
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"{variable} is '{value}': it must be a positive whole number")
    return int(value)


# Read when the worker starts: a wrong value must not wait for the first redelivery to be found.
MAX_DELIVERIES = limit_of()


class State:
    """What the connections of this process share."""

    #: None in a process that is no worker: its connections hold nothing.
    holder: Holder | None = None
    #: time.monotonic() of the broker's last answer to BRPOP.
    polled: float | None = None


def fault_of(item: bytes | str) -> str:
    """Return why a list entry is no message that Celery could take, empty if it is one.

    The fields are those that kombu.transport.virtual.base.Message and Celery's consumer read unconditionally.
    """
    try:
        message = json.loads(item)
    except ValueError as error:
        return f"no JSON: {error}"
    if not isinstance(message, dict):
        return f"no JSON object but {type(message).__name__}"
    properties = message.get("properties")
    if not isinstance(properties, dict):
        return "no properties"
    if not isinstance(properties.get("delivery_tag"), str):
        return "no delivery_tag"
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, dict) or not {"exchange", "routing_key"} <= delivery.keys():
        return "no delivery_info with exchange and routing_key"
    if not isinstance(message.get("headers", {}), dict):
        return "headers are no JSON object"
    return _fault_of_body(message.get("body"), properties.get("body_encoding"))


def _fault_of_body(body: Any, encoding: Any) -> str:
    if body is not None and not isinstance(body, str):
        return "body is no text"
    if encoding == "base64" and body:
        try:
            b64decode(body)
        except (binascii.Error, ValueError) as error:
            return f"body is no base64: {error}"
    elif encoding not in (None, "", "utf-8", "base64"):
        return f"body_encoding {encoding!r} is unknown"
    return ""


def deliveries_of(item: bytes | str) -> int:
    """Return how often a message was given back after a death."""
    # Almost no message was, and parsing each one twice would cost.
    if DELIVERIES.encode() not in (item if isinstance(item, bytes) else item.encode()):
        return 0
    return int(json.loads(item)["properties"]["delivery_info"].get(DELIVERIES, 0))


def running() -> set[str]:
    """Return the delivery tags of the tasks that run in this worker."""
    return {request.message.delivery_tag for request in tuple(state.active_requests)}


class QoS(redis.QoS):
    """Asks at kombu's own interval what dead processes have left, and bears a Redis that is full.

    Such a Redis gives messages away. It refuses to note who has them, and whatever is in a transaction,
    so that nothing is acknowledged either. kombu ends the worker then, and what it ran is begun again by
    the next one, which ends in the same way.
    """

    #: time.monotonic() until which no more is taken.
    _full_until = 0.0

    def append(self, message: Any, delivery_tag: str) -> None:
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
            self._full_until = time.monotonic() + FULL_SECONDS
            virtual.QoS.append(self, message, delivery_tag)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        """Without a transaction: a tag in the index alone is forgotten by whoever gives messages back."""
        if pipe is None:
            with self.channel.conn_or_acquire() as client:
                pipe = client.pipeline(transaction=False)
        return pipe.hdel(self.unacked_key, delivery_tag).zrem(self.unacked_index_key, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Of a lost connection: what runs goes on, and is acknowledged by another one."""
        if state.should_stop is None and state.should_terminate is None:
            for tag in running():
                self._delivered.pop(tag, None)
        super().restore_unacked(client)

    def can_consume(self) -> bool:
        return time.monotonic() >= self._full_until and bool(super().can_consume())

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        try:
            super().restore_visible(start, num, interval)
            # kombu counts its calls and acts on each `interval`th one.
            if (self._vrestore_count - 1) % (interval or 1) == 0:
                self.channel.recover()
        except self.channel.ResponseError as error:
            logger.error("messages of dead workers cannot be given back now: %s", error)


class Guard:
    """What is added to a channel of kombu's, with or without Sentinel."""

    QoS = QoS
    #: A worker that ends in order gives back what it had not begun, and one that has lost its connection what
    #: it does not know any more: nobody died of that.
    _nobody_died = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # After the application's transport options, which may name keys for all.
        if State.holder:
            self.unacked_key, self.unacked_index_key = (
                State.holder.unacked_key,
                State.holder.unacked_index_key,
            )

    def recover(self) -> None:
        """Put back what nobody works on."""
        if State.holder is None:
            return
        with self.conn_or_acquire() as client:
            for name, count in recover(self, client, State.holder, self.visibility_timeout).items():
                logger.warning("recovered: %d messages that %s held are back in their queues", count, name)

    def give_back_forgotten(self) -> None:
        """Put back what this process holds by its own keys and does not run, before it takes anything new.

        When Celery loses its connection it forgets all but the tasks that run: those with an ETA, those that
        were just taken. Their messages would wait for the visibility timeout.
        """
        if State.holder is None:
            return
        known = running()
        keys = State.holder.unacked_key, State.holder.unacked_index_key
        self._nobody_died = True
        with self.conn_or_acquire() as client:
            tags = {bytes_to_str(tag) for tag in client.zrange(keys[1], 0, -1)} - known
            count = sum(give_back(self, client, keys, tag) for tag in sorted(tags))
        self._nobody_died = False
        if count:
            logger.warning("recovered: %d messages that the lost connection had brought are back", count)

    def basic_consume(self, queue: str, no_ack: bool = False, *args: Any, **kwargs: Any) -> Any:
        if not no_ack and not self._active_queues:
            self.recover()
            self.give_back_forgotten()
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def close(self) -> None:
        self._nobody_died = True
        super().close()

    def _do_restore_message(self, payload: Any, *args: Any, **kwargs: Any) -> None:
        if not self._nobody_died:
            delivery = payload["properties"]["delivery_info"]
            delivery[DELIVERIES] = delivery.get(DELIVERIES, 0) + 1
        super()._do_restore_message(payload, *args, **kwargs)

    # The client of the event loop reads the answers to BRPOP.
    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)
        if not asynchronous:
            return client
        parse_response = client.parse_response

        def guarded(connection: Any, command_name: str, **options: Any) -> Any:
            if command_name != "BRPOP":
                return parse_response(connection, command_name, **options)
            try:
                answer = parse_response(connection, command_name, **options)
            except self.ResponseError:
                # It is an answer: another worker would hear the same.
                State.polled = time.monotonic()
                raise
            State.polled = time.monotonic()
            return self._refuse(*answer) if answer else answer

        client.parse_response = guarded
        return client

    def _refuse(self, key: bytes | str, item: bytes | str) -> tuple[bytes | str, bytes | str] | None:
        """Return the answer as it is, or None after it was set aside."""
        reason = fault_of(item)
        if not reason and (count := deliveries_of(item)) >= MAX_DELIVERIES:
            reason = f"delivered {count} times, and each time its process died"
        if not reason:
            return key, item
        queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
        with self.conn_or_acquire() as client:
            dead_letters.keep(client, queue, item, reason)
        return None


class Channel(Guard, redis.Channel):
    """A channel of redis:// and rediss://."""


class Transport(redis.Transport):
    Channel = Channel


class SentinelChannel(Guard, redis.SentinelChannel):
    """A channel of sentinel://."""


class SentinelTransport(redis.SentinelTransport):
    Channel = SentinelChannel


def on_init(sender: Any, **_: object) -> None:
    """The worker knows its name and has not connected yet."""
    State.holder = Holder.this(sender.hostname)


def install() -> None:
    """Have all connections that are made from now on be of these classes."""
    for alias, name in (
        ("redis", "Transport"),
        ("rediss", "Transport"),
        ("sentinel", "SentinelTransport"),
    ):
        kombu.transport.TRANSPORT_ALIASES[alias] = f"{__name__}:{name}"
        # An application may have connected while it was imported.
        kombu.transport._transport_cache.pop(alias, None)
    worker_init.connect(on_init, weak=False)
