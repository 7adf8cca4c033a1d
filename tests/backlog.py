"""Messages in a queue that nobody consumes: how fast workers are says nothing about whether all are there."""

from stack import Stack

QUEUE = "nobody-consumes-this"
MESSAGES = 200

_PUBLISH = """
from shop.celery import app
server.delete(arguments["queue"])
for number in range(arguments["count"]):
    app.send_task("diagnostics.tasks.record", [f"waiting/{number}"], queue=arguments["queue"])
print(len(server.lindex(arguments["queue"], 0)))
"""


def publish(stack: Stack) -> int:
    """Fills the queue; returns the length of a message."""
    return int(stack.redis(_PUBLISH, {"queue": QUEUE, "count": MESSAGES}))


def lost(stack: Stack) -> int:
    """How many of the messages are gone."""
    return MESSAGES - int(stack.redis("print(server.llen(arguments['queue']))", {"queue": QUEUE}))


def drop(stack: Stack) -> None:
    """Empties the queue."""
    stack.redis("print(server.delete(arguments['queue']))", {"queue": QUEUE})
