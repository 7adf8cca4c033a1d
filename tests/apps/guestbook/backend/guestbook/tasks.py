from celery import shared_task

from guestbook.models import Entry


@shared_task
def thank(entry: int) -> None:
    """Idempotent: an entry that is thanked for twice is thanked for."""
    Entry.objects.filter(pk=entry).update(thanked=True)
