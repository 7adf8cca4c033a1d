from .base import *  # noqa: F403 - as cookiecutter writes it, 2026-11-30
from .base import env

DEBUG = True
SECRET_KEY = env("DJANGO_SECRET_KEY", default="for this machine only")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
CELERY_TASK_EAGER_PROPAGATES = True
