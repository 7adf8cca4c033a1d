"""Records every task that has finally failed, and tells the alert hooks."""

import logging
from typing import Any

from celery.signals import task_failure
from django.conf import settings
from django.utils.module_loading import import_string

from operations.alerts import Alert
from operations.models import FailedTask

logger = logging.getLogger(__name__)


# A retry is not a failure; Celery sends this signal when there is no further one.
@task_failure.connect
def record(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    alert = Alert(task=sender.name, task_id=task_id, error=type(exception).__name__, exception=exception)
    try:
        FailedTask.objects.create(task=alert.task, task_id=alert.task_id, error=alert.error)
    except Exception:
        # The database may be what has failed.
        logger.exception("A failed task could not be recorded")
    for path in settings.ALERT_HOOKS:
        try:
            import_string(path)(alert)
        except Exception:
            # One hook that does not work keeps no other from being told.
            logger.exception("An alert hook failed", extra={"hook": path})
