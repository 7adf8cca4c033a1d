"""Settings of an installed package; what differs is in $PINBOARD_CONFIG, else ./pinboard.ini."""

import configparser
import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

config = configparser.ConfigParser(interpolation=None)
with Path(os.environ.get("PINBOARD_CONFIG", "pinboard.ini")).open() as file:
    config.read_file(file)

SECRET_KEY = config["site"]["secret"]
ALLOWED_HOSTS = config["site"]["hosts"].split()
SITE_NAME = config["site"]["name"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = ["django.contrib.staticfiles", "jobs", "pinboard"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
ROOT_URLCONF = "pinboard.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
USE_TZ = True

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": config["database"]["host"],
        "NAME": config["database"]["name"],
        "USER": config["database"]["user"],
        "PASSWORD": config["database"]["password"],
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": config.get("redis", "cache", fallback="redis://localhost:6379/0"),
    }
}

STATIC_URL = "static/"
STATIC_ROOT = PACKAGE / "static_collected"

CELERY_BROKER_URL = config.get("redis", "broker", fallback="redis://localhost:6379/1")
CELERY_RESULT_BACKEND = config.get("redis", "results", fallback="redis://localhost:6379/2")
CELERY_BEAT_SCHEDULE = {"tick": {"task": "jobs.tasks.tick", "schedule": 5.0}}
