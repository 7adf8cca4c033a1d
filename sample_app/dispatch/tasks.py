from celery import shared_task

from dispatch import services


@shared_task(soft_time_limit=60, time_limit=90)
def sweep() -> None:
    """Beat sends this one every few seconds."""
    services.sweep()
