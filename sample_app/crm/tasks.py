import logging
import uuid

import requests
from celery import Task, shared_task
from django.conf import settings

from crm import services
from crm.models import Lead
from shop.retry import backoff

logger = logging.getLogger(__name__)


# Attempts are counted in the row, not in the message: the count survives a lost message.
@shared_task(bind=True, acks_late=True, max_retries=None, soft_time_limit=30, time_limit=40)
def sync_lead_to_crm(self: Task, lead_id: str) -> None:
    """The last failure leaves the task as an exception: operations/ records it and tells the alert hooks."""
    key = uuid.UUID(lead_id)
    try:
        services.sync_lead(key)
    except requests.RequestException as error:
        attempts = Lead.objects.values_list("attempts", flat=True).get(pk=key)
        if attempts >= services.MAX_ATTEMPTS:
            services.give_up(key)
            raise
        countdown = backoff(attempts)
        logger.warning(
            "The CRM did not take the lead",
            extra={"lead_id": lead_id, "attempt": attempts, "next_in": round(countdown, 1)},
        )
        # The sweeper steps in only if the retry's message is lost.
        services.postpone(key, countdown + settings.DISPATCH_GRACE)
        raise self.retry(exc=error, countdown=countdown) from error
