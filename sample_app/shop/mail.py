"""Mail on a machine that has no mail server."""

import logging
from collections.abc import Sequence

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

logger = logging.getLogger(__name__)


class LogBackend(BaseEmailBackend):
    """Logs that a mail would have left: neither the address nor the text, they are personal."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            logger.info(
                "Mail not sent: EMAIL_URL is not set",
                extra={"subject": message.subject, "message_id": message.extra_headers.get("Message-ID")},
            )
        return len(email_messages)
