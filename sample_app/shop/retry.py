"""When to try again."""

import random

from django.conf import settings


def backoff(attempt: int) -> float:
    """Seconds to wait after the given failed attempt (1 is the first): 2, 4, 8 …, each half to one and a
    half times as long, at least 1 and at most RETRY_BACKOFF_MAX.

    Celery's own jitter draws from 0 up, so that a retry may follow at once.
    """
    longest = settings.RETRY_BACKOFF_MAX
    # A larger exponent would only overflow.
    delay = float(2 ** min(attempt, 20)) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret, 2026-11-23
    return max(1.0, min(delay, longest))
