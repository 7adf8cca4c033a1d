"""The sample app's settings with another configuration of Celery: its defaults, or what articles recommend.

BENCH_REDIS   URL of the broker
BENCH_ARTICLE not empty: the settings that articles recommend, results included
"""

import os
from importlib import import_module

_settings = vars(import_module("shop.settings"))
globals().update({k: v for k, v in _settings.items() if k.isupper() and not k.startswith("CELERY_")})

# The sample app wants both to be there. Celery takes them from there as well, whatever the settings say.
for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
    os.environ.pop(name)

CELERY_BROKER_URL = os.environ["BENCH_REDIS"]
if os.environ["BENCH_ARTICLE"]:
    CELERY_RESULT_BACKEND = CELERY_BROKER_URL
    CELERY_ACCEPT_CONTENT = ["json"]
    CELERY_TASK_SERIALIZER = "json"
    CELERY_RESULT_SERIALIZER = "json"
    CELERY_TIMEZONE = "UTC"
    CELERY_ENABLE_UTC = True
    CELERY_RESULT_EXPIRES = 86400
    CELERY_TASK_TIME_LIMIT = 1800
    CELERY_TASK_SOFT_TIME_LIMIT = 1500
    CELERY_WORKER_PREFETCH_MULTIPLIER = 1
    CELERY_BROKER_POOL_LIMIT = 10
    CELERY_BROKER_CONNECTION_TIMEOUT = 10.0
    CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": 43200,
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
    }
