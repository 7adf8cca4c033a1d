from celery import shared_task
from django.core.management import call_command

from operations import services


@shared_task(soft_time_limit=300, time_limit=330)
def prune() -> None:
    """Beat sends this one every day."""
    services.prune()
    call_command("clearsessions")
