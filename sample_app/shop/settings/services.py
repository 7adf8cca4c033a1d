"""The services beside the application: payment gateway, CRM, mail, alerts."""

from shop.settings.environment import env

PAYMENT_GATEWAY_URL = env.str("PAYMENT_GATEWAY_URL").rstrip("/")
# How long to wait for an answer, in seconds.
PAYMENT_GATEWAY_TIMEOUT = env.float("PAYMENT_GATEWAY_TIMEOUT", default=5.0)
# A payment is at most one look-up and one charge, each with a connection to make.
PAYMENT_TIME_LIMIT = 4 * PAYMENT_GATEWAY_TIMEOUT + 5
# Nobody else touches an order that is being paid before this has passed: the task is dead by then.
PAYMENT_LEASE = PAYMENT_TIME_LIMIT + 15

CRM_URL = env.str("CRM_URL").rstrip("/")

# The pause in each step of a report: the demo's data is too small to be slow by itself.
REPORT_STEP_SECONDS = env.float("REPORT_STEP_SECONDS", default=0.4)

# Without a mail server a mail is a line in the log.
# https://docs.djangoproject.com/en/5.2/topics/email/
_EMAIL = env.email_url("EMAIL_URL", default="dummymail://")
EMAIL_BACKEND = _EMAIL["EMAIL_BACKEND"] if env.str("EMAIL_URL", default="") else "shop.mail.LogBackend"
EMAIL_HOST = _EMAIL["EMAIL_HOST"]
EMAIL_PORT = _EMAIL["EMAIL_PORT"]
EMAIL_HOST_USER = _EMAIL["EMAIL_HOST_USER"]
EMAIL_HOST_PASSWORD = _EMAIL["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS = _EMAIL.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL = _EMAIL.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="shop@localhost")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# Who hears of a task that has finally failed: functions, by dotted path (see operations/alerts.py).
SENTRY_DSN = env.str("SENTRY_DSN", default="")
ADMINS = [("Operations", address) for address in env.list("ALERT_EMAILS", default=[])]
ALERT_HOOKS = env.list("ALERT_HOOKS", default=["operations.alerts.to_log"])
if ADMINS:
    ALERT_HOOKS.append("operations.alerts.to_mail")
if SENTRY_DSN:
    ALERT_HOOKS.append("operations.alerts.to_sentry")
