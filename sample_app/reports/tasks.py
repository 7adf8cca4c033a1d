import uuid

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from reports import services


# Longer than any other task, but shorter than what a stopping worker waits for.
@shared_task(soft_time_limit=480, time_limit=500)
def generate_reports(report_id: str) -> None:
    try:
        services.generate(uuid.UUID(report_id))
    except SoftTimeLimitExceeded:
        services.give_up(uuid.UUID(report_id))
        raise
