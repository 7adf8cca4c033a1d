"""Enqueue on commit, and lose nothing when that fails.

No worker runs: messages stay where they can be counted.
"""

import signal
import time
from collections.abc import Iterator

import pytest
import requests
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User, WelcomeMail
from accounts.services import register
from crm.models import Lead
from dispatch import services as dispatch
from orders.models import Order
from orders.services import place_orders
from reports.models import Report
from reports.services import start_report
from tests import stack

ORDER = {"product": "mug", "email": "a@example.com", "payment_token": "tok_visa"}
PERSON = {"name": "Ada", "email": "ada@example.com", "password": "correct horse", "contact_me": True}


class Boom(Exception):
    """Something goes wrong before the commit."""


def make_all_due() -> None:
    for model in (Order, Lead, Report, WelcomeMail):
        model.objects.filter(due_at__isnull=False).update(due_at=timezone.now(), leased_until=None)


def test_nothing_is_sent_before_the_commit() -> None:
    with transaction.atomic():
        place_orders(**ORDER, count=3)
        register(**PERSON)
        start_report()
        assert stack.waiting() == 0
    client = stack.broker()
    assert [client.llen(queue) for queue in stack.QUEUES] == [3, 2, 1]


def test_a_rolled_back_transaction_sends_nothing() -> None:
    with pytest.raises(Boom), transaction.atomic():
        place_orders(**ORDER, count=3)
        register(**PERSON)
        start_report()
        raise Boom
    assert stack.waiting() == 0
    assert not Order.objects.exists()
    assert not User.objects.exists()
    assert not Lead.objects.exists()


def test_a_message_carries_nothing_but_an_id() -> None:
    (order,) = place_orders(**ORDER, count=1)
    (message,) = stack.broker().lrange("critical", 0, -1)
    assert str(order.pk) in message
    assert "example.com" not in message
    assert "tok_visa" not in message


def test_a_crash_between_commit_and_publish_loses_nothing() -> None:
    # The rows as they are committed, and no message: what such a crash leaves behind.
    with transaction.atomic():
        orders = place_orders(**ORDER, count=5)
        connection.run_on_commit.clear()
    assert stack.waiting() == 0
    assert dispatch.sweep() == 0, "they are not overdue yet"
    make_all_due()
    assert dispatch.sweep() == len(orders)
    assert stack.waiting() == len(orders)
    assert dispatch.sweep() == 0, "they were just sent"


def test_a_row_that_stays_overdue_is_sent_ever_more_rarely() -> None:
    place_orders(**ORDER, count=1)
    waits = []
    for _ in range(7):
        make_all_due()
        assert dispatch.sweep() == 1
        waits.append((Order.objects.get().due_at - timezone.now()).total_seconds())
    assert [round(wait, -1) for wait in waits] == [60, 120, 240, 480, 900, 900, 900]


@pytest.fixture
def redis_down() -> Iterator[None]:
    stack.REDIS.kill()
    yield
    if not stack.redis_answers():
        stack.REDIS.start()


@pytest.fixture
def redis_hangs() -> Iterator[None]:
    stack.REDIS.signal(signal.SIGSTOP)
    yield
    stack.REDIS.signal(signal.SIGCONT)


def place_over_http(http: requests.Session, site: str, count: int) -> tuple[float, requests.Response]:
    started = time.monotonic()
    body = {"product": "beans", "email": "b@example.com", "count": count}
    response = http.post(f"{site}/api/orders", json=body, timeout=30)
    return time.monotonic() - started, response


def test_redis_down_at_commit_answers_quickly_and_loses_nothing(
    http: requests.Session, site: str, redis_down: None
) -> None:
    seconds, response = place_over_http(http, site, 100)
    assert response.status_code == 201, response.text
    assert response.json()["counts"] == {"pending": 100}
    assert seconds < 2, seconds
    page = http.get(site + response.json()["page"], timeout=10)
    assert page.text.count("Waiting for payment") == 101
    operations = http.get(f"{site}/operations/", timeout=10)
    assert "The broker does not answer" in operations.text
    stack.REDIS.start()
    make_all_due()
    stack.wait_for(lambda: dispatch.sweep() == 100)
    assert stack.broker().llen("critical") == 100


def test_redis_that_hangs_costs_one_timeout_not_one_per_order(
    http: requests.Session, site: str, redis_hangs: None
) -> None:
    seconds, response = place_over_http(http, site, 100)
    assert response.status_code == 201, response.text
    assert seconds < 8, seconds
    assert Order.objects.count() == 100
