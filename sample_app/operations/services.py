"""What the operations page shows."""

from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from dispatch.models import Dispatched
from operations.models import FailedTask
from shop.celery import app

#: Days after which a failure is forgotten.
KEEP_FAILURES = 30


def queue_depths() -> dict[str, int] | None:
    """Messages that wait for a worker, by queue; None when the broker does not answer.

    Asked at most once in two seconds, however many people look on.
    """
    try:
        return cache.get_or_set("queue-depths", _ask_broker, timeout=2)
    except Exception:  # noqa: BLE001 - of the broker's or the cache's client, 2026-11-23
        # This page must work when they do not.
        return None


def _ask_broker() -> dict[str, int]:
    options = {**settings.CELERY_BROKER_TRANSPORT_OPTIONS, "max_retries": 0, "socket_timeout": 2.0}
    with app.connection_for_read(transport_options=options) as broker:
        broker.connect()
        channel = broker.default_channel
        # The transport's own count knows how it spreads a queue over keys.
        return {queue.name: channel._size(queue.name) for queue in settings.CELERY_TASK_QUEUES}


def unfinished() -> list[dict[str, Any]]:
    """For each kind of work how much is not done, and how much of it is overdue."""
    now = timezone.now()
    rows = []
    for model in apps.get_models():
        if issubclass(model, Dispatched):
            due = model.objects.filter(due_at__isnull=False)
            rows.append(
                {
                    "name": str(model._meta.verbose_name_plural).capitalize(),
                    "unfinished": due.count(),
                    "overdue": due.filter(due_at__lte=now).count(),
                }
            )
    return rows


def recent_failures(limit: int = 20) -> list[FailedTask]:
    return list(FailedTask.objects.order_by("-failed_at")[:limit])


def prune() -> None:
    FailedTask.objects.filter(failed_at__lt=timezone.now() - timedelta(days=KEEP_FAILURES)).delete()
