"""The Celery application: `celery -A shop`."""

import logging.config
import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def use_django_logging(**_: object) -> None:
    """Worker and beat write the same JSON lines as the web processes."""
    from django.conf import settings  # the settings exist only when a process starts

    logging.config.dictConfig(settings.LOGGING)
