import environ

env = environ.Env()

SECRET_KEY = env("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = ["django.contrib.staticfiles", "pages"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
ROOT_URLCONF = "pages.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

DATABASES = {"default": env.db_url("DATABASE_URL")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": env.cache_url("CACHE_URL")}

STATIC_URL = "static/"
STATIC_ROOT = env("STATIC_ROOT")

CELERY_BROKER_URL = env("CELERY_BROKER_URL")
CELERY_RESULT_BACKEND = env("CELERY_RESULT_BACKEND")
CELERY_RESULT_BACKEND_ALWAYS_RETRY = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": env("REDIS_KEY_PREFIX")}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"global_keyprefix": env("REDIS_KEY_PREFIX")}
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"pages.tasks.render": {"queue": "render"}}
CELERY_TASK_ACKS_LATE = True
CELERY_BEAT_SCHEDULE = {"count": {"task": "pages.tasks.count", "schedule": 2.0}}
