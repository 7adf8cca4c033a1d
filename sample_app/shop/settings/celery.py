"""Queues, limits and the behaviour of Celery when something breaks.

Reference of all settings: https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

from kombu import Queue

from shop.settings.environment import env

# --- Broker and results: two databases, neither of them the cache's.
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL")
CELERY_RESULT_BACKEND = env.str("CELERY_RESULT_BACKEND")

# A message that nobody acknowledged for this long (seconds) is delivered again. It must be longer than
# any task and any countdown, and the same for every client: the shortest one wins.
# https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout
VISIBILITY_TIMEOUT = env.int("CELERY_VISIBILITY_TIMEOUT", default=3600)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": VISIBILITY_TIMEOUT,
    # Look for such messages every 10 s, not every 100 s.
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    # Without a timeout a Redis that hangs would hang the web request that publishes.
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "socket_keepalive": True,
    "health_check_interval": 25,
}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"visibility_timeout": VISIBILITY_TIMEOUT}
CELERY_BROKER_POOL_LIMIT = 10
CELERY_BROKER_CONNECTION_TIMEOUT = 5.0
# A worker waits for Redis as long as it takes, at its start as well.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# True would kill tasks that still run, when the connection breaks, or lose them.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-cancel-long-running-tasks-on-connection-loss
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False

# Results are kept only where somebody reads them (ignore_result=False on the task). What a page shows is
# in the database; a result costs each task four more Redis commands.
# https://docs.celeryq.dev/en/stable/userguide/tasks.html#ignore-results-you-don-t-want
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_EXPIRES = 86400
# Without it a task that ends while Redis is away is marked as failed.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#result-backend-always-retry
CELERY_RESULT_BACKEND_ALWAYS_RETRY = True
CELERY_REDIS_SOCKET_TIMEOUT = 10.0
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 5.0
CELERY_REDIS_SOCKET_KEEPALIVE = True
CELERY_REDIS_BACKEND_HEALTH_CHECK_INTERVAL = 25

# --- Messages: JSON only, a pickle is refused.
# https://docs.celeryq.dev/en/stable/userguide/security.html#serializers
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True

# --- Queues: one pool of workers each. Celery's own default queue would be one that nobody consumes.
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_QUEUES = [Queue("critical"), Queue("default"), Queue("low-priority")]
# https://docs.celeryq.dev/en/stable/userguide/routing.html#automatic-routing
CELERY_TASK_ROUTES = {
    "orders.tasks.*": {"queue": "critical"},
    "dispatch.tasks.*": {"queue": "critical"},
    "reports.tasks.*": {"queue": "low-priority"},
    "operations.tasks.*": {"queue": "low-priority"},
}

# --- Tasks: acknowledged when done, because all of them may run twice.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-acks-late
CELERY_TASK_ACKS_LATE = True
# The limits (seconds) of a task that sets none; those of this project set shorter ones.
CELERY_TASK_SOFT_TIME_LIMIT = 1500
CELERY_TASK_TIME_LIMIT = 1800
# One message per child at a time: none waits behind a long one while another child is idle.
# https://docs.celeryq.dev/en/stable/userguide/optimizing.html#prefetch-limits
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000

# --- Events cost more than a third of the throughput: only where Flower listens.
_EVENTS = env.bool("CELERY_SEND_TASK_EVENTS", default=False)
CELERY_WORKER_SEND_TASK_EVENTS = _EVENTS
CELERY_TASK_SEND_SENT_EVENT = _EVENTS
CELERY_TASK_TRACK_STARTED = _EVENTS

# --- Retries (seconds). A waiting retry is an unacknowledged message: stay well below the timeout.
RETRY_BACKOFF_MAX = min(600, VISIBILITY_TIMEOUT // 2)

# --- Rows that wait for a task (see dispatch/): how long until the sweeper sends one (again).
DISPATCH_GRACE = env.int("DISPATCH_GRACE", default=30)
DISPATCH_BACKOFF_MAX = 900
_SWEEP_INTERVAL = env.float("DISPATCH_SWEEP_INTERVAL", default=10.0)

# https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "dispatch.tasks.sweep",
        "schedule": _SWEEP_INTERVAL,
        # While no worker runs, one waiting sweep is as good as a thousand.
        "options": {"expires": _SWEEP_INTERVAL},
    },
    "prune": {
        "task": "operations.tasks.prune",
        "schedule": 86400.0,
        "options": {"expires": 3600},
    },
}
