"""All settings in one file, as `startproject` leaves it; what differs has names of its own."""

import os
from pathlib import Path

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ["GUESTBOOK_KEY"]
ALLOWED_HOSTS = os.environ["GUESTBOOK_HOSTS"].split(",")
CSRF_TRUSTED_ORIGINS = os.environ["GUESTBOOK_ORIGINS"].split(",")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "guestbook",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
ROOT_URLCONF = "guestbook.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

DATABASES = {"default": dj_database_url.parse(os.environ["GUESTBOOK_DB"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["GUESTBOOK_CACHE"],
    }
}

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "collected"
STATICFILES_DIRS = [BASE_DIR / "assets"]
MEDIA_URL = "media/"
MEDIA_ROOT = BASE_DIR / "uploads"

CELERY_BROKER_URL = os.environ["GUESTBOOK_QUEUE"]
CELERY_RESULT_BACKEND = os.environ["GUESTBOOK_RESULTS"]
CELERY_TASK_DEFAULT_QUEUE = "mail"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_RESULT_BACKEND_ALWAYS_RETRY = True
