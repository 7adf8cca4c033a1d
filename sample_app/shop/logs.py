"""What every log line says about where it comes from: the task and the business row."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from celery import current_task

_fields: ContextVar[dict[str, str]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed in place, 2026-11-23


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Adds fields, such as order_id, to every line that is logged inside."""
    token = _fields.set(_fields.get() | {name: str(value) for name, value in fields.items()})
    try:
        yield
    finally:
        _fields.reset(token)


class ContextFilter(logging.Filter):
    """Adds the fields of log_context, and the running task's name and id."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Celery attaches the whole message to its own records, arguments included.
        data = record.__dict__.pop("data", None)
        request = current_task.request if current_task else None
        if request is not None and request.id:
            record.task_id, record.task = request.id, current_task.name
        elif isinstance(data, dict) and "id" in data:
            record.task_id, record.task = data["id"], data.get("name")
        for name, value in _fields.get().items():
            setattr(record, name, value)
        return True
