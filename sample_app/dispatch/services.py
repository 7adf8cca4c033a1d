"""Sends the messages of rows: after the commit, and again when nothing has come of it."""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from django.apps import apps
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from dispatch.models import Dispatched
from shop.celery import app

logger = logging.getLogger(__name__)

#: Rows of one model that one sweep sends; the next sweep takes the rest.
SWEEP_LIMIT = 500
#: Seconds in which a process does not try a broker again that has just failed: with a broker that
#: hangs, every try costs a request the whole socket timeout.
BROKER_PAUSE = 5.0

_broker_paused_until = 0.0


def enqueue(rows: Sequence[Dispatched]) -> None:
    """Sends one message per row when the transaction commits, and none when it is rolled back."""
    transaction.on_commit(lambda: _publish(rows))


def sweep() -> int:
    """Sends a message for every row that is overdue; returns how many were sent.

    A row gets them ever more rarely, so that a long queue is not made longer by its own delay.
    """
    sent = 0
    for model in apps.get_models():
        if issubclass(model, Dispatched):
            sent += _sweep_model(model)
    return sent


def _sweep_model(model: type[Dispatched]) -> int:
    now = timezone.now()
    with transaction.atomic():
        # Locked, so that two sweeps at once share the rows instead of both sending all.
        overdue = model.objects.select_for_update(skip_locked=True).filter(due_at__lte=now)
        rows = list(overdue.order_by("due_at")[:SWEEP_LIMIT])
        sent = rows[: _publish(rows)]
        for row in sent:
            row.sends += 1
            wait = min(settings.DISPATCH_GRACE * 2 ** min(row.sends, 10), settings.DISPATCH_BACKOFF_MAX)
            row.due_at = now + timedelta(seconds=wait)
        model.objects.bulk_update(sent, ["sends", "due_at"])
    if sent:
        logger.warning("Sent overdue rows again", extra={"model": model._meta.label, "rows": len(sent)})
    return len(sent)


def _publish(rows: Sequence[Dispatched]) -> int:
    """Sends one message per row until the broker fails; returns how many were sent."""
    global _broker_paused_until
    sent = 0
    if time.monotonic() < _broker_paused_until:
        return sent
    try:
        with app.producer_pool.acquire(block=True) as producer:
            # Whoever waits for this is a person: one try. Left alone, kombu looks for a broker that is
            # not there for seconds, whatever `retry` says.
            producer.connection.ensure_connection(max_retries=0)
            for row in rows:
                import_string(row.task).apply_async((str(row.pk),), producer=producer, retry=False)
                sent += 1
    except Exception:
        # Whatever the broker's trouble is: the rows are committed, the sweeper sends the rest.
        _broker_paused_until = time.monotonic() + BROKER_PAUSE
        logger.exception("The broker takes no messages", extra={"unsent": len(rows) - sent})
    return sent
