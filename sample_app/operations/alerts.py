"""Alert hooks: functions that take an Alert. ALERT_HOOKS names those that are called."""

import logging
from dataclasses import dataclass

from django.conf import settings
from django.core.mail import mail_admins

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alert:
    task: str
    task_id: str
    error: str
    exception: BaseException


def to_log(alert: Alert) -> None:
    logger.critical("Task failed", extra={"task": alert.task, "task_id": alert.task_id, "error": alert.error})


def to_mail(alert: Alert) -> None:
    """Mails to ALERT_EMAILS."""
    mail_admins(f"{alert.task} failed", f"Task {alert.task_id} has finally failed with {alert.error}.\n")


def to_sentry(alert: Alert) -> None:
    """Sends to the project of SENTRY_DSN."""
    import sentry_sdk  # only where it is used: it costs each process several MiB

    if not sentry_sdk.is_initialized():
        # Local variables of a payment are nobody else's business.
        sentry_sdk.init(
            settings.SENTRY_DSN,
            default_integrations=False,
            send_default_pii=False,
            include_local_variables=False,
        )
    with sentry_sdk.new_scope() as scope:
        scope.set_tag("task", alert.task)
        scope.set_tag("task_id", alert.task_id)
        scope.capture_exception(alert.exception)
    # The child may be replaced before a background thread has sent it.
    sentry_sdk.flush(timeout=2)
