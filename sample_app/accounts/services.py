"""Registration."""

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.models import User, WelcomeMail
from crm.models import Lead
from dispatch import services as dispatch

#: Tries to send the mail before it counts as failed.
MAX_ATTEMPTS = 6
#: Seconds for which a task holds the mail; more than its time limit.
LEASE = 60


def register(*, name: str, email: str, password: str, contact_me: bool) -> User:
    """Makes the account and all that follows from it, or nothing.

    Raises IntegrityError when the address is taken.
    """
    with transaction.atomic():
        user = User.objects.create_user(email=email, password=password, first_name=name)
        dispatch.enqueue([WelcomeMail.objects.create(user=user)])
        if contact_me:
            dispatch.enqueue([Lead.objects.create(name=name, email=user.email)])
    return user


def send_welcome_mail(user_id: int) -> None:
    """Sends the mail unless that is done or another task is at it. Raises OSError or SMTPException.

    A mail cannot be sent exactly once. Its Message-ID is always the same, so that a second copy, after a
    crash between sending and saving, is recognised as one.
    """
    if not WelcomeMail.objects.all().claim(user_id, LEASE):
        return
    mail = WelcomeMail.objects.select_related("user").get(pk=user_id)
    mail.attempts += 1
    mail.save(update_fields=["attempts"])
    EmailMessage(
        subject="Welcome to the shop",
        body=render_to_string("accounts/welcome.txt", {"user": mail.user}),
        to=[mail.user.email],
        headers={"Message-ID": f"<welcome-{user_id}@{settings.DEFAULT_FROM_EMAIL.rpartition('@')[2]}>"},
    ).send()
    WelcomeMail.objects.filter(pk=user_id).update(sent_at=timezone.now(), **WelcomeMail.release(None))


def postpone_welcome_mail(user_id: int, seconds: float | None) -> None:
    """Gives the mail back to be tried again in so many seconds, or never."""
    WelcomeMail.objects.filter(pk=user_id, sent_at=None).update(**WelcomeMail.release(seconds))
