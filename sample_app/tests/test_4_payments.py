"""However often a payment is delivered, and whatever breaks: one charge for each paid order, no order left.

Real workers, a real gateway (the sandbox) with its own ledger, real PostgreSQL and Redis.
"""

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from dispatch import services as dispatch
from orders import services
from orders.models import Order, PaymentAttempt
from orders.tasks import process_payment
from tests import stack

Status = Order.Status


def place(count: int = 1, card: str = "tok_visa") -> list[Order]:
    return services.place_orders(product="mug", email="a@example.com", payment_token=card, count=count)


def place_unsent(count: int = 1, **changes: Any) -> list[Order]:
    """Orders as if they had been placed long ago, whose messages are gone."""
    orders = [
        Order(batch=stack.BATCH, product="mug", amount=1250, email="a@example.com") for _ in range(count)
    ]
    for order in orders:
        order.payment_token = "tok_visa"
        for name, value in changes.items():
            setattr(order, name, value)
    return Order.objects.bulk_create(orders)


def statuses() -> Counter[str]:
    return Counter(Order.objects.values_list("status", flat=True))


def all_final() -> bool:
    return not Order.objects.exclude(status__in=Order.FINAL).exists()


def expire_leases() -> None:
    """The time of whoever holds an order is up."""
    now = timezone.now()
    Order.objects.filter(leased_until__isnull=False).update(leased_until=now, due_at=now)


def settled(seconds: float = 60) -> None:
    """Lets time pass for the sweeper, again and again, until every order is final and no message is left."""

    def sweep() -> bool:
        Order.objects.filter(due_at__isnull=False, leased_until=None).update(due_at=timezone.now())
        dispatch.sweep()
        return all_final() and stack.waiting() == 0

    stack.wait_for(sweep, seconds, "every order is final")


def one_charge_per_paid_order() -> None:
    ledger = stack.ledger()
    charged = Counter(p["reference"] for p in ledger["payments"] if p["status"] == "succeeded")
    paid = {str(pk) for pk in Order.objects.filter(status=Status.PAID).values_list("pk", flat=True)}
    assert charged == Counter(paid), (len(charged), sum(charged.values()), len(paid))
    for attempt in PaymentAttempt.objects.filter(order__status=Status.PAID):
        assert attempt.charge_id.startswith("ch_")
    assert not Order.objects.filter(status__in=Order.FINAL).exclude(payment_token="").exists()


@pytest.mark.usefixtures("worker")
class TestDeliveries:
    def test_an_order_is_paid(self) -> None:
        place(3)
        stack.wait_for(all_final)
        assert statuses() == {Status.PAID: 3}
        one_charge_per_paid_order()

    def test_a_declined_card_is_final(self) -> None:
        (order,) = place(card="tok_declined")
        stack.wait_for(all_final)
        order.refresh_from_db()
        assert order.status == Status.DECLINED
        assert order.attempt.detail == "insufficient funds"
        for _ in range(10):
            process_payment.delay(str(order.pk))
        settled()
        assert statuses() == {Status.DECLINED: 1}
        assert stack.ledger()["charges"] == 0
        assert PaymentAttempt.objects.get().calls == 1

    @pytest.mark.parametrize("status", Status.values)
    def test_redelivery_in_each_state(self, status: str) -> None:
        """And for the states in which the gateway may have charged: with and without a charge."""
        final = status in Order.FINAL
        due = None if final else timezone.now() + timedelta(seconds=60)
        lease = due if status == Status.PROCESSING else None
        orders = place_unsent(4, status=status, due_at=due, leased_until=lease)
        if status != Status.PENDING:
            for number, order in enumerate(orders):
                key = f"order-{order.pk}"
                PaymentAttempt.objects.create(order=order, idempotency_key=key, calls=1, charge_id="ch_x")
                if status == Status.PAID or (number % 2 and status in (Status.PROCESSING, Status.UNKNOWN)):
                    services.gateway.charge(key=key, reference=str(order.pk), amount=1250, token="tok_visa")
        Order.objects.filter(status__in=Order.FINAL).update(payment_token="")
        for order in orders * 3:
            process_payment.delay(str(order.pk))
        stack.wait_for(lambda: stack.waiting() == 0)
        if status == Status.PROCESSING:
            assert statuses() == {Status.PROCESSING: 4}, "another call holds them"
            expire_leases()
        settled()
        expected = status if final else Status.PAID
        assert statuses() == {expected: 4}
        one_charge_per_paid_order()

    @pytest.mark.parametrize("kind", ["timeout", "timeout_after", "error", "error_after"])
    def test_an_unknown_outcome_is_cleared_up(self, kind: str) -> None:
        stack.faults({"target": "charge", "kind": kind, "times": 4, "seconds": 5})
        place(4)
        stack.wait_for(lambda: statuses()[Status.UNKNOWN] == 4, what="4 are unknown")
        assert stack.ledger()["charges"] == (4 if kind.endswith("after") else 0)
        settled()
        assert statuses() == {Status.PAID: 4}
        one_charge_per_paid_order()
        calls = [payment["calls"] for payment in stack.ledger()["payments"]]
        assert calls == [1] * 4, "the key was looked up, not charged again"

    def test_a_look_up_that_fails_is_repeated(self) -> None:
        stack.faults(
            {"target": "charge", "kind": "timeout_after", "times": 2, "seconds": 5},
            {"target": "find", "kind": "error", "times": 4},
        )
        place(2)
        settled()
        assert statuses() == {Status.PAID: 2}
        one_charge_per_paid_order()

    def test_a_gateway_that_is_not_there(self) -> None:
        stack.SANDBOX.kill()
        try:
            place(3)
            stack.wait_for(lambda: statuses()[Status.UNKNOWN] == 3)
        finally:
            stack.SANDBOX.start()
        settled()
        assert statuses() == {Status.PAID: 3}
        one_charge_per_paid_order()

    def test_a_task_for_an_order_that_does_not_exist(self) -> None:
        process_payment.delay(str(stack.BATCH))
        stack.wait_for(lambda: stack.waiting() == 0)

    def test_two_hundred_orders_with_faults_and_beat(self) -> None:
        """Nothing here helps the sweeper: real beat, real time."""
        stack.faults(
            {"target": "charge", "kind": "timeout_after", "times": 15, "seconds": 4},
            {"target": "charge", "kind": "timeout", "times": 15, "seconds": 4},
            {"target": "charge", "kind": "error", "times": 20, "share": 0.5},
            {"target": "charge", "kind": "error_after", "times": 20, "share": 0.5},
            {"target": "charge", "kind": "slow", "times": 20, "seconds": 0.3},
            {"target": "charge", "kind": "decline", "times": 20, "share": 0.5},
            {"target": "find", "kind": "error", "times": 10},
        )
        beat = stack.beat(DISPATCH_SWEEP_INTERVAL="1", DISPATCH_GRACE="5")
        try:
            orders = place(200)
            # Every third message comes twice.
            for order in orders[::3]:
                process_payment.delay(str(order.pk))
            stack.wait_for(all_final, 100, "every order is final")
        finally:
            beat.stop()
        assert stack.injected() == 120
        assert set(statuses()) == {Status.PAID, Status.DECLINED}
        assert statuses().total() == 200
        one_charge_per_paid_order()


def test_sixty_deliveries_at_the_same_moment(worker: stack.Process) -> None:
    """A worker with 60 threads holds all 60 messages of one order at once; the gateway is slow."""
    stack.faults({"target": "charge", "kind": "slow", "seconds": 0.5})
    (order,) = place_unsent(due_at=timezone.now() + timedelta(seconds=60))
    threads = stack.worker("threads", "-P", "threads", "-c", "60")
    try:
        with worker.paused():
            for _ in range(60):
                process_payment.delay(str(order.pk))
            stack.wait_for(all_final)
        stack.wait_for(lambda: stack.waiting() == 0)
    finally:
        threads.stop()
    assert statuses() == {Status.PAID: 1}
    one_charge_per_paid_order()
    assert stack.ledger()["payments"][0]["calls"] == 1
    assert PaymentAttempt.objects.get().calls == 1


def test_sixty_calls_at_the_same_moment_after_an_unknown_outcome() -> None:
    """The service itself, without a queue in front that could put them in a row."""
    (order,) = place_unsent(status=Status.UNKNOWN, due_at=timezone.now())
    PaymentAttempt.objects.create(order=order, idempotency_key=f"order-{order.pk}", calls=1)
    stack.faults({"target": "charge", "kind": "slow", "seconds": 0.3})
    barrier = threading.Barrier(60)

    def call() -> None:
        barrier.wait()
        services.process_payment(order.pk)
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses() == {Status.PAID: 1}
    one_charge_per_paid_order()
    assert PaymentAttempt.objects.get().calls == 2


def test_a_worker_killed_between_charge_and_save(worker: stack.Process) -> None:
    stack.faults({"target": "charge", "kind": "timeout_after", "times": 4, "seconds": 10})
    place(4)
    stack.wait_for(lambda: stack.ledger()["charges"] == 4, what="the gateway has charged")
    worker.kill()
    assert statuses() == {Status.PROCESSING: 4}
    stack.forget_held()
    expire_leases()
    worker.start()
    settled()
    assert statuses() == {Status.PAID: 4}
    one_charge_per_paid_order()
    assert [payment["calls"] for payment in stack.ledger()["payments"]] == [1] * 4


def test_redis_that_loses_everything_loses_no_order(worker: stack.Process) -> None:
    with worker.paused():
        place(10)
        stack.broker().delete(*stack.QUEUES)
    settled()
    assert statuses() == {Status.PAID: 10}
    one_charge_per_paid_order()


def test_an_order_cancelled_while_its_message_waits_is_not_charged(worker: stack.Process) -> None:
    with worker.paused():
        (order,) = place()
        assert services.cancel_order(order.pk)
    stack.wait_for(lambda: stack.waiting() == 0)
    assert statuses() == {Status.CANCELLED: 1}
    assert stack.ledger()["payments"] == []
