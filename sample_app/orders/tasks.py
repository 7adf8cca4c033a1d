import logging
import uuid

from celery import shared_task
from django.conf import settings

from orders import services
from orders.models import Order

logger = logging.getLogger(__name__)


@shared_task(
    soft_time_limit=settings.PAYMENT_TIME_LIMIT - 3,
    time_limit=settings.PAYMENT_TIME_LIMIT,
    ignore_result=False,
)
def process_payment(order_id: str) -> str | None:
    """Returns the order's status. Of an order, Redis, the log and Flower see that and the argument."""
    try:
        return services.process_payment(uuid.UUID(order_id))
    except Order.DoesNotExist:
        logger.error("There is no such order", extra={"order_id": order_id})
        return None
