from smtplib import SMTPException

from celery import Task, shared_task
from django.conf import settings

from accounts import services
from accounts.models import WelcomeMail
from shop.retry import backoff


@shared_task(bind=True, max_retries=None, soft_time_limit=30, time_limit=40)
def send_welcome_email(self: Task, user_id: str) -> None:
    try:
        services.send_welcome_mail(int(user_id))
    except (OSError, SMTPException) as error:
        attempts = WelcomeMail.objects.values_list("attempts", flat=True).get(pk=user_id)
        if attempts >= services.MAX_ATTEMPTS:
            services.postpone_welcome_mail(int(user_id), None)
            raise
        countdown = backoff(attempts)
        # The sweeper steps in only if the retry's message is lost.
        services.postpone_welcome_mail(int(user_id), countdown + settings.DISPATCH_GRACE)
        raise self.retry(exc=error, countdown=countdown) from error
