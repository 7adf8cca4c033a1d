"""What was done, for the tests of a deployment to count."""

from django.db import models


class Effect(models.Model):
    """One completed execution of `diagnostics.tasks.record`: a key with two rows was done twice."""

    key = models.CharField(max_length=100, db_index=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(auto_now_add=True)
    node = models.CharField(max_length=200, help_text="Name of the Celery worker.")
    pid = models.PositiveIntegerField()
    redelivered = models.BooleanField(help_text="The message had been given to a worker before.")

    def __str__(self) -> str:
        return self.key
