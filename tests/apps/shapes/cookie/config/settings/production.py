from .base import *  # noqa: F403 - as cookiecutter writes it, 2026-11-30
from .base import REDIS_URL, env

SECRET_KEY = env("DJANGO_SECRET_KEY")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["cookie.example.com"])

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.DefaultClient",
            # A cache that is away is an empty cache.
            "IGNORE_EXCEPTIONS": True,
        },
    }
}

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = env.bool("DJANGO_SECURE_SSL_REDIRECT", default=True)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
COMPRESS_ENABLED = env.bool("COMPRESS_ENABLED", default=True)
COMPRESS_URL = "/static/"
COMPRESS_OFFLINE = True

ADMIN_URL = env("DJANGO_ADMIN_URL")
EMAIL_HOST_PASSWORD = env("MAIL_API_KEY")
DEFAULT_FROM_EMAIL = env("DJANGO_DEFAULT_FROM_EMAIL", default="cookie <noreply@cookie.example.com>")
