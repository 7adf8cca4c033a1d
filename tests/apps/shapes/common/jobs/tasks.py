from celery import shared_task

from jobs.models import Tick


@shared_task
def count_words(text: str) -> int:
    """Idempotent: the same text has as many words each time."""
    return len(text.split())


@shared_task
def tick() -> None:
    Tick.objects.create()
