"""What can be done with orders. Pages, API and tasks only call these."""

import logging
import uuid
from datetime import timedelta

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from dispatch import services as dispatch
from orders import gateway
from orders.models import Order, PaymentAttempt, Product
from shop.logs import log_context
from shop.retry import backoff

logger = logging.getLogger(__name__)


def place_orders(*, product: str, email: str, payment_token: str, count: int) -> list[Order]:
    """Writes the orders in one transaction; their payments are sent to the workers when it commits."""
    batch = uuid.uuid4()
    with transaction.atomic():
        orders = Order.objects.bulk_create(
            Order(
                batch=batch,
                product=product,
                amount=Product(product).price,
                email=email,
                payment_token=payment_token,
            )
            for _ in range(count)
        )
        dispatch.enqueue(orders)
    return orders


def cancel_order(order_id: uuid.UUID) -> bool:
    """Cancels an order whose payment has not begun; returns whether it was still possible."""
    done = Order.objects.filter(pk=order_id, status=Order.Status.PENDING).update(
        status=Order.Status.CANCELLED, payment_token="", updated_at=timezone.now(), **Order.release(None)
    )
    return done == 1


def process_payment(order_id: uuid.UUID) -> str:
    """Charges an order once, however often and however many at a time this is called; returns its status.

    1. Claim: under a row lock, committed before the gateway is called, so that whoever comes later
       knows that a charge may exist.
    2. Ask or charge, outside any transaction: a slow gateway holds no lock.
    3. Settle: by conditional updates, so that a late answer never overwrites a final state.
    """
    with log_context(order_id=order_id):
        claimed = _claim(order_id)
        if claimed is None:
            return Order.objects.values_list("status", flat=True).get(pk=order_id)
        order, may_be_charged = claimed
        try:
            outcome = _pay(order, may_be_charged)
        except (gateway.OutcomeUnknown, SoftTimeLimitExceeded) as error:
            return _settle_unknown(order, str(error) or type(error).__name__)
        return _settle(order, outcome)


def _claim(order_id: uuid.UUID) -> tuple[Order, bool] | None:
    """Takes the order for this call; returns it and whether an earlier call may have charged already.

    None when there is nothing to do: it is final, or another call is at it.
    """
    with transaction.atomic():
        order = Order.objects.select_for_update().get(pk=order_id)
        now = timezone.now()
        if order.is_final or (order.leased_until and order.leased_until > now):
            logger.info("Nothing to pay", extra={"status": order.status})
            return None
        may_be_charged = order.status != Order.Status.PENDING
        order.status = Order.Status.PROCESSING
        order.leased_until = order.due_at = now + timedelta(seconds=settings.PAYMENT_LEASE)
        order.save(update_fields=["status", "leased_until", "due_at", "updated_at"])
        # The key belongs to the order, not to the call: every repetition sends the same one.
        PaymentAttempt.objects.get_or_create(order=order, defaults={"idempotency_key": f"order-{order.pk}"})
        PaymentAttempt.objects.filter(order=order).update(calls=F("calls") + 1, updated_at=now)
        order.attempt.refresh_from_db()
    return order, may_be_charged


def _pay(order: Order, may_be_charged: bool) -> gateway.Charged | gateway.Declined:
    key = order.attempt.idempotency_key
    if may_be_charged and (outcome := gateway.find(key=key)) is not None:
        logger.info("The gateway knows this payment")
        return outcome
    return gateway.charge(key=key, reference=str(order.pk), amount=order.amount, token=order.payment_token)


def _settle(order: Order, outcome: gateway.Charged | gateway.Declined) -> str:
    charged = isinstance(outcome, gateway.Charged)
    status = Order.Status.PAID if charged else Order.Status.DECLINED
    with transaction.atomic():
        # A definite answer counts even when the lease has run out meanwhile: it is the same for everybody.
        settled = Order.objects.filter(
            pk=order.pk, status__in=[Order.Status.PROCESSING, Order.Status.UNKNOWN]
        ).update(status=status, payment_token="", updated_at=timezone.now(), **Order.release(None))
        if settled:
            PaymentAttempt.objects.filter(order=order).update(
                charge_id=outcome.charge_id if charged else "",
                detail="" if charged else outcome.reason[:200],
                updated_at=timezone.now(),
            )
            logger.info("Payment settled", extra={"status": status})
    return status


def _settle_unknown(order: Order, reason: str) -> str:
    """The sweeper sends the order again, ever more rarely, until the gateway gives a definite answer."""
    now = timezone.now()
    with transaction.atomic():
        # Only the call that holds the lease may say that it does not know.
        mine = Order.objects.filter(
            pk=order.pk, status=Order.Status.PROCESSING, leased_until=order.leased_until
        )
        if mine.update(
            status=Order.Status.UNKNOWN, updated_at=now, **Order.release(backoff(order.attempt.calls))
        ):
            PaymentAttempt.objects.filter(order=order).update(detail=reason[:200], updated_at=now)
    level = logging.ERROR if order.attempt.calls >= 10 else logging.WARNING
    logger.log(level, "Payment unknown", extra={"reason": reason, "calls": order.attempt.calls})
    return Order.Status.UNKNOWN
