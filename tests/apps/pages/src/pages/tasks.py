from celery import shared_task
from django.utils.html import linebreaks

from pages.models import Count, Page


@shared_task
def render(page: int) -> None:
    """Idempotent: the same source makes the same page."""
    Page.objects.filter(pk=page).update(html=linebreaks(Page.objects.get(pk=page).source, autoescape=True))


@shared_task
def count() -> None:
    Count.objects.create(pages=Page.objects.count())
