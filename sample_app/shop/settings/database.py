"""PostgreSQL and the cache."""

from shop.settings.environment import env

_DATABASE = env.db_url("DATABASE_URL")
DATABASES = {
    "default": _DATABASE
    | {
        # One connection per process, kept, instead of one per request or task.
        # https://docs.djangoproject.com/en/5.2/ref/databases/#persistent-connections
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        # What the URL says of TLS is among its options, too.
        "OPTIONS": {"connect_timeout": 5} | _DATABASE.get("OPTIONS", {}),
    }
}

# The cache may be flushed at any time: its database is never the broker's.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": env.str("CACHE_URL"),
        "KEY_PREFIX": "shop",
        # Every key expires: one Redis for cache and broker must not fill up with forgotten keys.
        "TIMEOUT": 300,
        # Passed on to redis-py. https://docs.djangoproject.com/en/5.2/topics/cache/#redis
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2},
    }
}
