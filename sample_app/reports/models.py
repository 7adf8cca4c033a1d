"""Reports over all orders. They take a while, so they show how far they are."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from dispatch.models import Dispatched


class Report(Dispatched):
    task: ClassVar[str] = "reports.tasks.generate_reports"

    class Status(models.TextChoices):
        QUEUED = "queued", "Waiting for a worker"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    status = models.CharField(max_length=20, choices=Status, default=Status.QUEUED)
    progress = models.PositiveSmallIntegerField(default=0, help_text="Per cent.")
    rows = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(progress__lte=100), name="report_progress_per_cent"),
        )

    def __str__(self) -> str:
        return f"Report {self.pk}"

    @property
    def is_final(self) -> bool:
        return self.status in (self.Status.DONE, self.Status.FAILED)
