import uuid

import django.db.models.deletion
from django.db import migrations, models

import dispatch.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "due_at",
                    models.DateTimeField(
                        blank=True,
                        db_index=True,
                        default=dispatch.models.first_due,
                        help_text="When to send; empty: finished.",
                        null=True,
                    ),
                ),
                (
                    "sends",
                    models.PositiveIntegerField(default=0, help_text="Messages that the sweeper has sent."),
                ),
                (
                    "leased_until",
                    models.DateTimeField(blank=True, help_text="A task holds the row until then.", null=True),
                ),
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("batch", models.UUIDField(db_index=True, help_text="Orders that were placed together.")),
                (
                    "product",
                    models.CharField(
                        choices=[
                            ("mug", "Stoneware mug"),
                            ("beans", "Coffee beans, 1 kg"),
                            ("grinder", "Hand grinder"),
                        ],
                        max_length=20,
                    ),
                ),
                ("amount", models.PositiveIntegerField()),
                ("email", models.EmailField(max_length=254)),
                (
                    "payment_token",
                    models.CharField(blank=True, help_text="Forgotten once it is used.", max_length=100),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Waiting for payment"),
                            ("processing", "Paying"),
                            ("unknown", "Checking payment"),
                            ("paid", "Paid"),
                            ("declined", "Declined"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="pending",
                        max_length=20,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="order_amount_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("due_at__isnull", True), ("status__in", ["paid", "declined", "cancelled"])
                            ),
                            models.Q(
                                ("due_at__isnull", False),
                                ("status__in", ["pending", "processing", "unknown"]),
                            ),
                            _connector="OR",
                        ),
                        name="order_unfinished_is_due",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PaymentAttempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("idempotency_key", models.CharField(max_length=64, unique=True)),
                ("calls", models.PositiveIntegerField(default=0)),
                ("charge_id", models.CharField(blank=True, max_length=100)),
                (
                    "detail",
                    models.CharField(
                        blank=True, help_text="Why it was declined or is unknown.", max_length=200
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "order",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="attempt", to="orders.order"
                    ),
                ),
            ],
        ),
    ]
