"""What a task leaves behind is published, or the task's own message goes back into its queue.

Celery drops a task whose retry cannot be published: `Task.retry` then raises Reject without requeue, whatever
the error was (celery/app/task.py). It also acknowledges a task whose follow-up in a chain, whose part of a
chord or whose result cannot be written ("Exception raised outside body", celery/app/trace.py). Either is a
task that was accepted and is never done.

Here a worker first waits longer for a broker that is away. A full Redis accepts what replaces a message that
is about to leave it: every retry, and one message of each running task. If it still cannot be written, the
message of the task goes back into its queue, at most MAX_PUT_BACKS times, and then becomes a dead letter. A
retry that can never be published, because its arguments cannot be encoded, becomes a dead letter at once.
"""

# Celery has no types.
# mypy: disable-error-code="misc"

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import kombu.exceptions
import redis.exceptions
from celery import current_task
from celery.app import trace
from celery.app.defaults import DEFAULTS
from celery.app.task import Task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.signals import worker_init
from celery.worker.request import Request

from rootstock_worker import dead_letters
from rootstock_worker.refusals import is_refusal
from rootstock_worker.taking import REFUSED_SECONDS, State

logger = logging.getLogger(__name__)

#: How often a worker tries to reach the broker before a publish fails: about 17 s. Celery's default is 3.
PUBLISH_TRIES = 20
#: How often a retry is published anew that Redis refuses for another reason than its memory, once a second.
RETRY_TRIES = 20
_AWAY = (kombu.exceptions.OperationalError, redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)


class PutBack(Reject):
    """Raised in a child: its worker puts the message of the task back."""

    def __init__(self, reason: str, requeue: bool = True) -> None:
        super().__init__(reason, requeue)


class SetAside(Reject):
    """Raised in a child: its worker keeps the message of the task as a dead letter."""

    def __init__(self, reason: str, requeue: bool = False) -> None:
        super().__init__(reason, requeue)


class Allowance:
    """How many messages this process may publish although Redis is full.

    A worker's main process publishes nothing but short answers to remote control, so it may always.
    """

    #: The task that has published its one message.
    _task: str | None = None
    _retrying = False

    @classmethod
    def take(cls) -> bool:
        """Whether one more may be published."""
        if State.holder or cls._retrying:
            return True
        request = current_task.request if current_task else None
        if request is None or request.id == cls._task:
            return False
        cls._task = request.id
        return True

    @classmethod
    @contextmanager
    def retry(cls) -> Iterator[None]:
        """What is published in this block takes the place of the task's own message."""
        cls._retrying = True
        try:
            yield
        finally:
            cls._retrying = False


def will_pass(error: object) -> bool:
    """Whether the broker or the result backend is away or refuses to write, for now."""
    causes = (error, getattr(error, "__cause__", None))
    return any(isinstance(one, (*_AWAY, SoftTimeLimitExceeded)) or is_refusal(one) for one in causes)  # type: ignore[arg-type]


def kept_when_not_retried(retry: Any) -> Any:
    """Return Celery's Task.retry such that it never drops the task."""

    @wraps(retry)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        for tries in range(1, RETRY_TRIES + 1):
            try:
                with Allowance.retry():
                    return retry(self, *args, **kwargs)
            except Reject as rejected:
                error = rejected.reason
                # Otherwise it is the application's own: `exc` of a retry that has none left.
                if rejected.requeue or not isinstance(error, Exception):
                    raise
                text = f"its retry could not be published ({type(error).__name__}: {error})"
                if not will_pass(error):
                    raise SetAside(text) from error
                if tries == RETRY_TRIES or not is_refusal(error):
                    raise PutBack(text) from error
            try:
                time.sleep(1)
            except SoftTimeLimitExceeded:
                raise PutBack(text) from None
        raise AssertionError

    return wrapper


def kept_when_not_replaced(on_replace: Any) -> Any:
    """Return Celery's Task.on_replace such that the task is not lost with what replaces it."""

    @wraps(on_replace)
    def wrapper(self: Any, signature: Any) -> Any:
        try:
            with Allowance.retry():
                return on_replace(self, signature)
        except Exception as error:
            if not will_pass(error):
                raise
            raise PutBack(
                f"what replaces it could not be published ({type(error).__name__}: {error})"
            ) from error

    return wrapper


def kept_when_not_reported(report: Any) -> Any:
    """Return Celery's report_internal_error such that it acknowledges no task that can be put back."""

    @wraps(report)
    def wrapper(task: Any, error: Exception) -> Any:
        if task.acks_late and will_pass(error):
            raise PutBack(
                f"what follows it could not be written ({type(error).__name__}: {error})"
            ) from error
        return report(task, error)

    return wrapper


def put_back_in_worker(on_failure: Any) -> Any:
    """Return Celery's Request.on_failure such that it does with the message what the child has asked for."""

    @wraps(on_failure)
    def wrapper(self: Any, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        error, message = exc_info.exception, self.message
        if isinstance(error, PutBack):
            logger.error("task %s[%s] is put back: %s", self.name, self.id, error.reason)
            message.channel.put_back(message, acknowledged=self.acknowledged)
            message.channel.pause(REFUSED_SECONDS, error)
        elif isinstance(error, SetAside):
            dead_letters.on_refused(message, error.reason)
        return on_failure(self, exc_info, *args, **kwargs)

    return wrapper


def be_patient(sender: Any, **_: object) -> None:
    """Unless the application says how often a publish is tried. In place: Celery reads the setting once."""
    policy = sender.app.conf.task_publish_retry_policy
    if policy == DEFAULTS["task_publish_retry_policy"]:
        policy["max_retries"] = PUBLISH_TRIES


def install() -> None:
    """Have it so in this worker and its children."""
    Task.retry = kept_when_not_retried(Task.retry)
    Task.on_replace = kept_when_not_replaced(Task.on_replace)
    trace.report_internal_error = kept_when_not_reported(trace.report_internal_error)
    Request.on_failure = put_back_in_worker(Request.on_failure)
    worker_init.connect(be_patient, weak=False)
