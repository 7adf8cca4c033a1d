"""Messages that no worker may run are kept, shown, and given back by hand.

Nothing that was published disappears: what is no message at all, what has killed its process too often, and
what names a task that this release does not have. They are in the broker's database, so the memory that they
take is the memory that they took in their queue.

Usage: python -m rootstock_worker.dead_letters APP list | show ID | replay ID... | drop ID...
`all` stands for every ID. `replay` puts messages back into their queue with a new count of deliveries.
"""

import argparse
import json
import logging
import sys
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from celery.signals import task_rejected, task_unknown
from kombu.utils.encoding import bytes_to_str

from rootstock_worker.envelope import DELIVERIES, fault_of

logger = logging.getLogger(__name__)

#: Hash of id to record (JSON), and sorted set of ids by time, both in the broker's database.
RECORDS, INDEX = "rootstock.dead_letters", "rootstock.dead_letters_index"
_LOGGED_CHARACTERS = 200


def as_text(item: bytes | str) -> dict[str, str]:
    """Return an entry of a list such that JSON can hold it: as it is, or in base64 if it is no text."""
    if isinstance(item, str):
        return {"text": item}
    try:
        return {"text": item.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(item).decode()}


def task_of(item: bytes | str) -> str:
    """Return the name of a message's task, empty if it has none."""
    try:
        return str(json.loads(item)["headers"]["task"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


#: Keys: records, index, and the list in which the entry still is. Arguments: id, record, time, entry. Answers
#: 0 if another worker has kept it. The first command is one that a full Redis accepts, and so are those after
#: it.
KEEP = """
redis.call('ZREM', KEYS[2], ARGV[1])
if KEYS[3] and redis.call('LREM', KEYS[3], -1, ARGV[4]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return 1
"""


def keep(channel: Any, client: Any, queue: str, item: bytes | str, reason: str, left_in: str = "") -> None:
    """Keep an entry of a queue that was taken from there, or that is still in the list `left_in`.

    Raises the client's errors.
    """
    letter, now = uuid.uuid4().hex[:12], time.time()
    record = {"at": now, "queue": queue, "reason": reason, "task": task_of(item), **as_text(item)}
    keys = [channel.global_keyprefix + name for name in (RECORDS, INDEX, *([left_in] if left_in else []))]
    if not client.eval(KEEP, len(keys), *keys, letter, json.dumps(record), f"{now:.3f}", item):
        return
    logger.error(
        "dead letter %s: an entry of queue %s was set aside (%s): %.*s",
        letter,
        queue,
        reason,
        _LOGGED_CHARACTERS,
        record["task"] or repr(item),
    )


def on_refused(message: Any, reason: str) -> None:
    """Keep a message that Celery itself has refused; it has only logged and acknowledged it."""
    queue = str((message.delivery_info or {}).get("routing_key"))
    with message.channel.conn_or_acquire() as client:
        keep(message.channel, client, queue, json.dumps(message._raw), reason)


def on_unknown(message: Any, name: str = "", **_: object) -> None:
    """A task that this release does not have: an older or a newer one has published it."""
    on_refused(message, f"no task {name} is registered in this release")


def on_rejected(message: Any, exc: BaseException | None = None, **_: object) -> None:
    """A message that is no task, or whose content this worker does not accept."""
    why = f"{type(exc).__name__}: {exc}" if exc else "no task"
    on_refused(message, f"refused by Celery: {why}")


def install() -> None:
    """Keep what this worker refuses."""
    task_unknown.connect(on_unknown, weak=False)
    task_rejected.connect(on_rejected, weak=False)


# --- The command


def letters(client: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all records, the oldest first."""
    for found in client.zrange(INDEX, 0, -1):
        letter = bytes_to_str(found)
        if (record := client.hget(RECORDS, letter)) is not None:
            yield letter, json.loads(record)


def item_of(record: dict[str, Any]) -> bytes:
    """Return the entry as it was."""
    return b64decode(record["base64"]) if "base64" in record else record["text"].encode()


def replay(channel: Any, client: Any, letter: str, record: dict[str, Any]) -> str:
    """Put a message back into its queue; returns the problem, if there is one."""
    if fault := fault_of(item_of(record)):
        return f"{letter} cannot be replayed, it is no message ({fault}); drop it, or publish the task anew"
    message = json.loads(item_of(record))
    delivery = message["properties"]["delivery_info"]
    delivery.pop(DELIVERIES, None)
    queues = channel._lookup(delivery["exchange"], delivery["routing_key"])
    priority = channel._get_message_priority(message, reverse=False)
    with client.pipeline() as pipe:
        for queue in queues:
            pipe.lpush(channel._q_for_pri(queue, priority), json.dumps(message))
        _forget(pipe, letter)
        pipe.execute()
    return ""


def drop(client: Any, letter: str) -> None:
    """Throw a message away."""
    with client.pipeline() as pipe:
        _forget(pipe, letter)
        pipe.execute()


def _forget(pipe: Any, letter: str) -> None:
    pipe.hdel(RECORDS, letter)
    pipe.zrem(INDEX, letter)


def line(letter: str, record: dict[str, Any]) -> str:
    """A record for people."""
    when = datetime.fromtimestamp(record["at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{letter}  {when}  {record['queue']}  {record['task'] or '-'}  {record['reason']}"


def main() -> int:
    """Exit status: 0, or 1 if an id is unknown or a message cannot be replayed."""
    from celery.app.utils import find_app

    parser = argparse.ArgumentParser(description="Messages that no worker may run.")
    parser.add_argument("application", metavar="APP", help="as celery -A takes it")
    parser.add_argument("action", choices=["list", "show", "replay", "drop"])
    parser.add_argument("ids", nargs="*", metavar="ID", help="as list shows them, or all")
    arguments = parser.parse_args()
    if (arguments.action == "list") == bool(arguments.ids):
        parser.error("list takes no ID; show, replay and drop take at least one, or all")

    problems = []
    with find_app(arguments.application).connection_for_write() as connection:
        channel = connection.default_channel
        with channel.conn_or_acquire() as client:
            known = dict(letters(client))
            wanted = list(known) if arguments.ids in ([], ["all"]) else arguments.ids
            for letter in wanted:
                if letter not in known:
                    problems.append(f"{letter} is not there; `list` shows what is")
                elif arguments.action == "list":
                    print(line(letter, known[letter]))
                elif arguments.action == "show":
                    print(json.dumps({"id": letter, **known[letter]}, indent=2))
                elif arguments.action == "drop":
                    drop(client, letter)
                elif problem := replay(channel, client, letter, known[letter]):
                    problems.append(problem)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
