from django.db import models


class Tick(models.Model):
    """A task of beat's schedule that a worker has done."""

    at = models.DateTimeField(auto_now_add=True)
