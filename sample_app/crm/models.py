"""People who want to hear from the shop."""

import uuid
from typing import ClassVar

from django.db import models

from dispatch.models import Dispatched


class Lead(Dispatched):
    task: ClassVar[str] = "crm.tasks.sync_lead_to_crm"

    class Status(models.TextChoices):
        PENDING = "pending", "Waiting"
        SYNCED = "synced", "In the CRM"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=150)
    email = models.EmailField()
    phone = models.CharField(max_length=30, blank=True)
    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Lead {self.pk}"
