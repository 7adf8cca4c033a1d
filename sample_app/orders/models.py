"""Orders and their payments. Amounts are in pence."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from dispatch.models import Dispatched


class Product(models.TextChoices):
    MUG = "mug", "Stoneware mug"
    BEANS = "beans", "Coffee beans, 1 kg"
    GRINDER = "grinder", "Hand grinder"

    @property
    def price(self) -> int:
        return {Product.MUG: 1250, Product.BEANS: 2490, Product.GRINDER: 6900}[self]


class Order(Dispatched):
    task: ClassVar[str] = "orders.tasks.process_payment"

    class Status(models.TextChoices):
        PENDING = "pending", "Waiting for payment"
        PROCESSING = "processing", "Paying"
        UNKNOWN = "unknown", "Checking payment"
        PAID = "paid", "Paid"
        DECLINED = "declined", "Declined"
        CANCELLED = "cancelled", "Cancelled"

    FINAL: ClassVar[tuple[str, ...]] = (Status.PAID, Status.DECLINED, Status.CANCELLED)

    # Not guessable: knowing it is what lets somebody see the order.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    batch = models.UUIDField(db_index=True, help_text="Orders that were placed together.")
    product = models.CharField(max_length=20, choices=Product)
    amount = models.PositiveIntegerField()
    email = models.EmailField()
    payment_token = models.CharField(max_length=100, blank=True, help_text="Forgotten once it is used.")
    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(amount__gt=0), name="order_amount_positive"),
            # An order is final exactly when nothing is due: no state can be forgotten by the sweeper.
            models.CheckConstraint(
                condition=Q(status__in=["paid", "declined", "cancelled"], due_at__isnull=True)
                | Q(status__in=["pending", "processing", "unknown"], due_at__isnull=False),
                name="order_unfinished_is_due",
            ),
        )

    def __str__(self) -> str:
        return f"Order {self.pk}"

    @property
    def is_final(self) -> bool:
        return self.status in self.FINAL


class PaymentAttempt(models.Model):
    """What the gateway knows the payment by. Committed before the gateway is called for the first time."""

    order = models.OneToOneField(Order, on_delete=models.PROTECT, related_name="attempt")
    idempotency_key = models.CharField(max_length=64, unique=True)
    calls = models.PositiveIntegerField(default=0)
    charge_id = models.CharField(max_length=100, blank=True)
    detail = models.CharField(max_length=200, blank=True, help_text="Why it was declined or is unknown.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"Payment of {self.order_id}"
