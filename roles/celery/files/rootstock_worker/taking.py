"""Taking a message from its queue such that it is at no moment nowhere.

kombu waits with BRPOP, which takes, and notes a moment later who has the message. What Redis has answered
and the worker has not noted is lost with either of them: with a worker that is killed, and, for each worker
that waits, with every connection that is cut without an end. Here one script takes an entry and notes it in
the keys of the holder, and the wait takes nothing: BLMOVE from the end of a list to the end of the same list.
So an answer that never arrives leaves the message where the holder, or whoever finds it dead, gives it back.

The same script acknowledges what was done since the last one, so a busy worker has one exchange with Redis
for each task and does not stand still for it. Nothing waits for a script to come: what none has taken along
is acknowledged by itself before the event loop waits again.

BLMOVE waits for one list, and nobody tells who waits of a message in another one. So a worker looks at all
lists whenever it has waited in vain. One of several queues waits for each of them in turn, shortly; one of a
single queue waits longer, because only messages with a priority have lists of their own.
"""

# kombu has no types, and a mixin of its channels does not say what it is mixed into.
# mypy: disable-error-code="misc, attr-defined"

import logging
import time
from typing import Any, ClassVar

from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.exceptions import ResponseError

from rootstock_worker import dead_letters
from rootstock_worker.envelope import fault_of, fault_of_deliveries
from rootstock_worker.holders import HOLDERS, Holder, Recovery, register, time_of
from rootstock_worker.refusals import is_refusal

logger = logging.getLogger(__name__)

#: Keys: the holder's hash and index, the set of holders, then the queues in their order. Arguments: the
#: holder's name, then the tags of what is done. When a message was taken is Redis' own time. Answers nil, or
#: the queue, the entry, one of three words, and the tag of what is taken: taken    it is noted and out of its
#: queue. RPOP comes first, because a full Redis refuses a script nothing          after it has freed memory;
#: should the note fail all the same, the message goes back. invalid  it stays where it is, because it is no
#: message and there is nothing to note it by unknown  nothing is taken: the holder is not registered. Its
#: process died and was forgotten before this          command arrived, or Redis has come back without its
#: last second.
TAKE = """
local function text(of, name)
  local value = type(of) == 'table' and of[name]
  return type(value) == 'string' and value
end
if #ARGV > 1 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 2))
  redis.call('ZREM', KEYS[2], unpack(ARGV, 2))
end
local queues = {}
for i = 4, #KEYS do queues[i - 3] = KEYS[i] end
if redis.call('EXISTS', unpack(queues)) == 0 then return false end
if redis.call('SISMEMBER', KEYS[3], ARGV[1]) == 0 then return {'', '', 'unknown'} end
for _, queue in ipairs(queues) do
  local item = redis.call('LINDEX', queue, -1)
  if item then
    local read, message = pcall(cjson.decode, item)
    local properties = read and type(message) == 'table' and message.properties
    local delivery = type(properties) == 'table' and properties.delivery_info
    local tag = text(properties, 'delivery_tag')
    local exchange, key = text(delivery, 'exchange'), text(delivery, 'routing_key')
    if not (tag and exchange and key) then return {queue, item, 'invalid'} end
    local held = '[' .. item .. ',' .. cjson.encode(exchange) .. ',' .. cjson.encode(key) .. ']'
    local now = redis.call('TIME')
    redis.call('RPOP', queue)
    local noted = redis.pcall('HSET', KEYS[1], tag, held)
    if type(noted) == 'table' and noted.err then
      redis.call('RPUSH', queue, item)
      return noted
    end
    redis.call('ZADD', KEYS[2], now[1] .. '.' .. string.format('%06d', now[2]), tag)
    return {queue, item, 'taken', tag}
  end
end
return false
"""
#: The same for a message that only Python can read, such as one that is nested more than 1000 levels deep.
#: Keys: the queue, the holder's hash and index. Arguments: the entry, its tag, what is noted.
TAKE_AS_NOTED = """
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 0 end
local now = redis.call('TIME')
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('ZADD', KEYS[3], now[1] .. '.' .. string.format('%06d', now[2]), ARGV[2])
return 1
"""
#: How long nothing is taken from a Redis that refuses to write.
REFUSED_SECONDS = 5.0
#: How long an idle worker of one queue waits before it looks whether a message with a priority has come.
WAIT_SECONDS = 4.0
#: How long one of several queues waits for each of them.
TURN_SECONDS = 0.5


class State:
    """What the connections of this process share."""

    #: None in a process that is no worker, or a child of one: kombu's own keys are for what it consumes.
    holder: Holder | None = None
    #: time.monotonic() of the broker's last answer.
    polled: float | None = None
    #: The tag of the message that the script has noted and kombu has not been given yet.
    noted: str | None = None
    #: The thread in which the event loop runs, if there is one: `done` is empty whenever the loop waits.
    loop: int | None = None
    #: The tags of the tasks that run although the connection that brought them was lost.
    carried: ClassVar[set[str]] = set()
    #: The timer of that loop by which the worker looks for what dead processes have left.
    looks: Any = None
    #: The tags of what is done and not acknowledged yet, of each broker: they outlive a connection.
    done: ClassVar[dict[tuple[Any, ...], list[str]]] = {}
    #: Messages that were acknowledged early and are to be put back: message, exchange, routing key.
    unpublished: ClassVar[list[tuple[Any, str, str]]] = []
    #: Likewise of each broker: who looks for what dead processes have left.
    recoveries: ClassVar[dict[tuple[Any, ...], Recovery]] = {}


class Taking:
    """For a channel of kombu's: three commands in the place of BRPOP, what comes after it is kombu's own.

    EVAL takes, while there is something; BLMOVE waits; EXISTS looks whether to take or to wait again.
    """

    #: Which of them was sent last, and which is the next.
    _asked = ""
    _next = "EVAL"
    #: How often it has waited: the queues take turns.
    _waits = 0
    #: What the script that was sent last acknowledges, until it has answered.
    _acknowledging: tuple[str, ...] = ()
    #: Whether an answer may have been lost with a connection.
    _in_doubt = False

    def _brpop_start(self, timeout: float | None = None) -> None:
        if State.holder is None:
            super()._brpop_start(timeout)
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        if self._in_doubt:
            self._in_doubt = False
            try:
                self.give_back_unknown()
            except self.ResponseError as error:
                # It is tried again at kombu's interval.
                logger.error("what the lost connection had brought cannot be given back now: %s", error)
        prefix = self.global_keyprefix
        lists = [prefix + self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        if self._next == "BLMOVE":
            self._waits += 1
            queue = prefix + self._q_for_pri(queues[self._waits % len(queues)], 0)
            seconds = WAIT_SECONDS if len(queues) == 1 else TURN_SECONDS
            command = ["BLMOVE", queue, queue, "RIGHT", "RIGHT", seconds]
        elif self._next == "EXISTS":
            command = ["EXISTS", *lists]
        else:
            keys = [prefix + self.unacked_key, prefix + self.unacked_index_key, prefix + HOLDERS, *lists]
            self._acknowledging = tuple(self.done)
            self.done.clear()
            command = ["EVAL", TAKE, len(keys), *keys, str(State.holder), *self._acknowledging]
        self._asked = self._next
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        self.client.connection.send_command(*command)

    def _brpop_read(self, **options: Any) -> Any:
        State.noted = None
        result = super()._brpop_read(**options)
        # Of a consumer that does not acknowledge.
        if State.noted:
            with self.conn_or_acquire() as client:
                self._forget(client, State.noted)
        return result

    def _on_connection_disconnect(self, connection: Any) -> None:
        self._in_doubt = True
        self._acknowledge_again()
        super()._on_connection_disconnect(connection)

    def close(self) -> None:
        """Close without the answer to a wait, which has taken nothing: kombu would stay until it has come."""
        if self._in_poll and not self.answer_on_its_way():
            self._in_poll.disconnect()
        super().close()

    def acknowledge(self) -> None:
        """Tell Redis now what is done, or later if it refuses to write. Raises redis-py's other errors."""
        if self.done:
            try:
                with self.conn_or_acquire() as client:
                    self._forget(client, *self.done)
            except ResponseError as error:
                if not is_refusal(error):
                    raise
                self.pause(REFUSED_SECONDS, error)
                return
            self.done.clear()

    def _acknowledge_again(self) -> None:
        """It is not known whether the script has: twice does no harm."""
        self.done.extend(self._acknowledging)
        self._acknowledging = ()

    def answer_on_its_way(self) -> bool:
        """Whether the script was sent and its answer was not read."""
        return bool(self._in_poll) and self._asked == "EVAL"

    def pause(self, seconds: float, error: Exception) -> None:
        """Take nothing for so long, because Redis refuses to write."""
        if self.qos.paused_until < time.monotonic() - REFUSED_SECONDS:
            logger.warning("Redis refuses to write, so nothing is taken until it does: %s", error)
        self.qos.paused_until = time.monotonic() + seconds

    # The client of the event loop reads the answers; kombu asks it for that to BRPOP.
    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)
        if not asynchronous:
            return client
        parse_response = client.parse_response

        def answer(connection: Any, command_name: str, **options: Any) -> Any:
            if command_name != "BRPOP" or not self._asked:
                return parse_response(connection, command_name, **options)
            try:
                found = parse_response(connection, self._asked, **options)
            except ResponseError as error:
                # It is an answer: another worker would hear the same.
                State.polled = time.monotonic()
                self._acknowledge_again()
                if not is_refusal(error):
                    raise
                # BLMOVE is refused by a full Redis, although it moves nothing; the script is not.
                self.pause(1 if self._asked == "BLMOVE" else REFUSED_SECONDS, error)
                self._next = "EVAL"
                return None
            State.polled = time.monotonic()
            self._acknowledging = ()
            return self._understood(found)

        client.parse_response = answer
        return client

    def _understood(self, found: Any) -> tuple[str, bytes | str] | None:
        """Return what BRPOP would have answered."""
        in_vain = "EXISTS" if self._asked == "BLMOVE" else "BLMOVE"
        self._next = "EVAL" if found else in_vain
        if not found or self._asked != "EVAL":
            return None
        key, item, word, *tag = found
        if bytes_to_str(word) == "unknown" and State.holder:
            with self.conn_or_acquire() as client:
                register(self, client, State.holder, time_of(client))
            return None
        return self._accepted(bytes_to_str(key), item, bytes_to_str(tag[0]) if tag else "")

    def _accepted(self, key: str, item: bytes | str, tag: str) -> tuple[str, bytes | str] | None:
        """Return an entry with its queue, or None after it was set aside; without a tag it is still there."""
        reason = fault_of(item) or fault_of_deliveries(item)
        name = key.removeprefix(self.global_keyprefix)
        if reason:
            self._set_aside(name, item, tag, reason)
            return None
        if not (tag := tag or self._take_as_noted(key, item)):
            return None
        State.noted = tag
        return name, item

    def _set_aside(self, name: str, item: bytes | str, tag: str, reason: str) -> None:
        """Keep an entry that no worker may run, which is noted by its tag or still in the list `name`."""
        queue = name.rsplit(self.sep, 1)[0]
        with self.conn_or_acquire() as client:
            try:
                dead_letters.keep(self, client, queue, item, reason, left_in="" if tag else name)
            except ResponseError as error:
                # What was taken goes back as what nobody here knows.
                self.pause(REFUSED_SECONDS, error)
                return
            if tag:
                self._forget(client, tag)

    def _take_as_noted(self, key: str, item: bytes | str) -> str:
        """Take what the script cannot read, and return its tag; empty if another worker has taken it."""
        message = loads(bytes_to_str(item))
        delivery = message["properties"]["delivery_info"]
        tag = str(message["properties"]["delivery_tag"])
        held = dumps([message, delivery["exchange"], delivery["routing_key"]])
        keys = key, self.global_keyprefix + self.unacked_key, self.global_keyprefix + self.unacked_index_key
        with self.conn_or_acquire() as client:
            return tag if client.eval(TAKE_AS_NOTED, 3, *keys, item, tag, held) else ""

    def _forget(self, client: Any, *tags: str) -> None:
        """Take messages from the holder's keys."""
        with client.pipeline(transaction=False) as pipe:
            pipe.hdel(self.unacked_key, *tags).zrem(self.unacked_index_key, *tags).execute()
