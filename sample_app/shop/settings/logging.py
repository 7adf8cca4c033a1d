"""One JSON object per line on stderr; who collects it is the deployment's business."""

# Celery sets it up for worker and beat, Django for everything else, from the same dictionary.
LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"context": {"()": "shop.logs.ContextFilter"}},
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": "{asctime}{levelname}{name}{message}",
            "style": "{",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
            "static_fields": {"app": "shop"},
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["context"]}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # Its own handlers would mail tracebacks with request data to the administrators.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # "Task received" says nothing that "Task succeeded" does not.
        "celery.worker.strategy": {"level": "WARNING"},
    },
}
