"""Rows whose work is done by a task."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


def first_due() -> datetime:
    """When the sweeper steps in for a new row: its first message should have been handled by then."""
    return timezone.now() + timedelta(seconds=settings.DISPATCH_GRACE)


class DispatchedQuerySet(models.QuerySet[Any]):
    def claim(self, pk: object, seconds: float, **changes: object) -> bool:
        """Reserves an unfinished row for the caller and applies the changes, unless another task holds it.

        The reservation ends by itself after the given seconds: more than the task's time limit.
        """
        now = timezone.now()
        until = now + timedelta(seconds=seconds)
        free = Q(leased_until=None) | Q(leased_until__lte=now)
        unfinished = self.filter(free, pk=pk, due_at__isnull=False)
        return unfinished.update(leased_until=until, due_at=until, **changes) == 1


class Dispatched(models.Model):
    """The row says what is due; a message is only a hint that may be lost or come twice.

    It is written in the transaction of what it belongs to, so it exists exactly when that does. Its
    message is sent after the commit; where that fails, or a worker dies, the sweeper sends another one.
    """

    #: Dotted path of the task that takes the row's primary key.
    task: ClassVar[str]

    due_at = models.DateTimeField(
        null=True, blank=True, db_index=True, default=first_due, help_text="When to send; empty: finished."
    )
    sends = models.PositiveIntegerField(default=0, help_text="Messages that the sweeper has sent.")
    leased_until = models.DateTimeField(null=True, blank=True, help_text="A task holds the row until then.")

    objects = DispatchedQuerySet.as_manager()

    class Meta:
        abstract = True

    @staticmethod
    def release(due_in: float | None) -> dict[str, datetime | None]:
        """The values with which a task gives the row back: due again in so many seconds, or finished."""
        due_at = None if due_in is None else timezone.now() + timedelta(seconds=due_in)
        return {"leased_until": None, "due_at": due_at}
