import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "almanac.settings")

app = Celery("almanac")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
