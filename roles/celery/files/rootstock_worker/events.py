"""A worker's events leave ten times a second, and its event loop does not wait for them.

Celery collects the events of tasks, and publishes what it has in each turn of the event loop, by a PUBLISH
that it waits for: with Flower listening a busy worker's main process stands still for half of its time. Here
a thread publishes them. At most EVENTS wait; then, while Redis is away, the oldest are dropped, and the log
says how many. A worker that is killed loses the events of its last tenth of a second, and none of its tasks.
"""

# Celery has no types.
# mypy: disable-error-code="misc, attr-defined"

import logging
import threading
from collections import deque
from typing import Any

from celery.app.events import Events as AppEvents
from celery.events.dispatcher import EventDispatcher
from celery.worker.consumer.events import Events

logger = logging.getLogger(__name__)

#: Between two publishes of events.
INTERVAL = 0.1
#: How long a worker that ends, or connects again, waits for the last publish.
FINISH_SECONDS = 2.0
#: How many events wait at most: some seconds of a busy worker's, a few megabytes.
EVENTS = 10_000


class Buffer(deque[Any]):
    """What waits to be published; the oldest is dropped where there is no room."""

    def __init__(self) -> None:
        super().__init__(maxlen=EVENTS)
        self.dropped = 0
        self.filled = threading.Event()

    def append(self, event: Any) -> None:
        self.dropped += len(self) == EVENTS
        super().append(event)
        self.filled.set()


class Dispatcher(EventDispatcher):
    """Celery's, of which that of a worker publishes the events of tasks by a thread of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Nobody but a worker's event loop has its events collected.
        self._thread: threading.Thread | None = None
        #: That of the next connection: a task that began before it tells this one of its end.
        self._next: Dispatcher | None = None
        if self.buffer_group and self.enabled:
            # Celery publishes at this number, and whenever it has called this function.
            self.buffer_limit, self.on_send_buffered = EVENTS + 1, None
            self._tasks = self._group_buffer["task"] = Buffer()
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._tasks.filled.wait()
            ended = self._ended.wait(INTERVAL)
            self._tasks.filled.clear()
            self._publish_tasks()
            if ended:
                return

    def _publish_tasks(self) -> None:
        events = [self._tasks.popleft() for _ in range(len(self._tasks))]
        if not events:
            return
        with self.mutex:
            # An error puts them into Celery's own buffer, which the next connection publishes.
            self._publish(events, self.producer, "task.multi")
            while len(self._outbound_buffer) > 1 and self._waiting() > EVENTS:
                self._tasks.dropped += len(self._outbound_buffer.popleft()[0])
        if self._tasks.dropped:
            logger.warning("%d events were dropped: Redis did not take them in time", self._tasks.dropped)
            self._tasks.dropped = 0

    def _waiting(self) -> int:
        return sum(len(event) if isinstance(event, list) else 1 for event, _, _ in self._outbound_buffer)

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Celery's, for what could not be published; events of tasks are the thread's."""
        super().flush(errors=errors, groups=groups and self._thread is None)

    def send(self, kind: str, *args: Any, **fields: Any) -> Any:
        """Celery's, for the connection of now."""
        return self._next.send(kind, *args, **fields) if self._next else super().send(kind, *args, **fields)

    def finish(self) -> None:
        """Publish what waits, and end the thread; where Redis does not answer, not for longer than that."""
        if self._thread is not None:
            self._ended.set()
            self._tasks.filled.set()
            self._thread.join(FINISH_SECONDS)

    def close(self) -> None:
        """Celery's also opens the lock, which a thread that waits for Redis would then close twice."""
        if self._thread is None:
            super().close()
        self.producer = None

    def extend_buffer(self, other: Any) -> None:
        """Take over what another connection has not published."""
        super().extend_buffer(other)
        if self._thread is not None:
            other._next = self
            self._tasks.extend(other._group_buffer["task"])
            self._tasks.filled.set()


def finished_first(close: Any) -> Any:
    """Return the step's way to close a dispatcher such that nothing is left in it."""

    def wrapper(self: Any, consumer: Any) -> Any:
        if isinstance(consumer.event_dispatcher, Dispatcher):
            consumer.event_dispatcher.finish()
        return close(self, consumer)

    return wrapper


def install() -> None:
    """Have it so in the worker that is being made."""
    AppEvents.dispatcher_cls = f"{__name__}:Dispatcher"
    Events._close = finished_first(Events._close)
