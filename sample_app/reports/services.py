"""Sales by day and product."""

import time
import uuid
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Sum
from django.utils import timezone

from dispatch import services as dispatch
from orders.models import Order, Product
from reports.models import Report

#: Days that a report covers, today included.
DAYS = 7
#: Seconds after which a report that makes no progress counts as abandoned by its worker.
LEASE = 60


def start_report() -> Report:
    with transaction.atomic():
        report = Report.objects.create()
        dispatch.enqueue([report])
    return report


def generate(report_id: uuid.UUID) -> None:
    """Writes the report unless that is done or another task is at it."""
    if not Report.objects.all().claim(report_id, LEASE, status=Report.Status.RUNNING, progress=0):
        return
    running = Report.objects.filter(pk=report_id, status=Report.Status.RUNNING)
    today = timezone.now().date()
    steps = [(today - timedelta(days=back), product) for back in range(DAYS) for product in Product]
    rows = []
    for number, (day, product) in enumerate(steps, start=1):
        paid = Order.objects.filter(created_at__date=day, product=product, status=Order.Status.PAID)
        sums = paid.aggregate(orders=Count("pk"), amount=Sum("amount"))
        if sums["orders"]:
            rows.append({"day": day.isoformat(), "product": product.label, **sums})
        time.sleep(settings.REPORT_STEP_SECONDS)
        # Each step is a sign of life: the lease is as long as the longest step, not as the report.
        until = timezone.now() + timedelta(seconds=LEASE)
        running.update(progress=100 * number // len(steps), leased_until=until, due_at=until)
    running.update(status=Report.Status.DONE, rows=rows, **Report.release(None))


def give_up(report_id: uuid.UUID) -> None:
    Report.objects.filter(pk=report_id, due_at__isnull=False).update(
        status=Report.Status.FAILED, **Report.release(None)
    )
