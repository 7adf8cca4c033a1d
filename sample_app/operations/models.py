"""Tasks that have finally failed."""

from django.db import models
from django.utils import timezone


class FailedTask(models.Model):
    task = models.CharField(max_length=200)
    task_id = models.CharField(max_length=100)
    error = models.CharField(max_length=200, help_text="The exception's class: its text may be personal.")
    failed_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.task} {self.task_id}"
