"""The other tasks: welcome mail, leads, reports, periodic work, failures and their alerts, logs."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import WelcomeMail
from accounts.services import register
from accounts.tasks import send_welcome_email
from crm.models import Lead
from crm.services import MAX_ATTEMPTS, add_lead
from diagnostics import tasks as diagnostics
from diagnostics.models import Effect
from diagnostics.tasks import allocate, sleep, whoami
from dispatch import services as dispatch
from operations.models import FailedTask
from orders.models import Order
from orders.services import place_orders
from reports.models import Report
from reports.services import start_report
from reports.tasks import generate_reports
from tests import sinks, stack

pytestmark = pytest.mark.usefixtures("worker")


def test_registration_sends_one_mail_however_often_it_is_delivered() -> None:
    user = register(name="Ada", email="ada@example.com", password="correct horse", contact_me=True)
    for _ in range(20):
        send_welcome_email.delay(str(user.pk))
    stack.wait_for(lambda: WelcomeMail.objects.filter(sent_at__isnull=False).exists())
    stack.wait_for(lambda: stack.waiting() == 0)
    (mail,) = sinks.MAILS
    assert "To: ada@example.com" in mail
    assert f"<welcome-{user.pk}@" in mail
    assert "Hello Ada" in mail
    stack.wait_for(lambda: Lead.objects.get().status == Lead.Status.SYNCED)
    assert [lead["email"] for lead in stack.ledger()["leads"]] == ["ada@example.com"]


def test_a_lead_is_retried_with_backoff() -> None:
    stack.faults({"target": "lead", "kind": "error", "times": 1})
    started = timezone.now()
    lead = add_lead(name="Bob", email="bob@example.com", phone="")
    stack.wait_for(lambda: Lead.objects.get().status == Lead.Status.SYNCED)
    assert (timezone.now() - started).total_seconds() >= 1
    lead.refresh_from_db()
    assert (lead.attempts, lead.due_at) == (2, None)
    assert not FailedTask.objects.exists()


def test_a_lead_that_finally_fails_is_recorded_and_told(worker: stack.Process) -> None:
    stack.faults({"target": "lead", "kind": "error"})
    now = timezone.now()
    lead = Lead.objects.create(name="Eve", email="eve@example.com", attempts=MAX_ATTEMPTS - 1, due_at=now)
    assert dispatch.sweep() == 1
    stack.wait_for(lambda: FailedTask.objects.exists())
    failed = FailedTask.objects.get()
    assert (failed.task, failed.error) == ("crm.tasks.sync_lead_to_crm", "HTTPError")
    lead.refresh_from_db()
    assert (lead.status, lead.attempts, lead.due_at) == (Lead.Status.FAILED, MAX_ATTEMPTS, None)
    stack.wait_for(lambda: sinks.MAILS and sinks.EVENTS, what="mail and Sentry were told")
    assert "To: operations@example.com" in sinks.MAILS[0]
    assert "crm.tasks.sync_lead_to_crm failed" in sinks.MAILS[0]
    critical = [record for record in worker.records() if record["level"] == "CRITICAL"]
    assert critical[-1]["task_id"] == failed.task_id
    assert dispatch.sweep() == 0


def test_a_lead_whose_retry_is_lost_is_swept() -> None:
    Lead.objects.create(name="Dan", email="dan@example.com", attempts=2, due_at=timezone.now())
    assert dispatch.sweep() == 1
    stack.wait_for(lambda: Lead.objects.get().status == Lead.Status.SYNCED)


def test_a_report_shows_its_progress_and_its_result() -> None:
    place_orders(product="mug", email="a@example.com", payment_token="tok_visa", count=4)
    stack.wait_for(lambda: Order.objects.filter(status=Order.Status.PAID).count() == 4)
    report = start_report()
    seen = set()

    def done() -> bool:
        report.refresh_from_db()
        seen.add(report.progress)
        return report.status == Report.Status.DONE

    stack.wait_for(done)
    assert len(seen) > 5, seen
    today = timezone.now().date().isoformat()
    assert report.rows == [{"day": today, "product": "Stoneware mug", "orders": 4, "amount": 5000}]
    assert (report.progress, report.due_at) == (100, None)
    generate_reports.delay(str(report.pk))
    stack.wait_for(lambda: stack.waiting() == 0)
    report.refresh_from_db()
    assert (report.progress, report.due_at) == (100, None), "a second delivery does nothing"


def test_a_report_whose_worker_dies_is_written_again(worker: stack.Process) -> None:
    report = start_report()
    stack.wait_for(lambda: Report.objects.get().progress > 0)
    worker.kill()
    stack.forget_held()
    worker.start()
    assert Report.objects.get().status == Report.Status.RUNNING
    generate_reports.delay(str(report.pk))
    stack.wait_for(lambda: stack.waiting() == 0)
    assert Report.objects.get().status == Report.Status.RUNNING, "its lease is not over"
    Report.objects.update(due_at=timezone.now(), leased_until=timezone.now())
    assert dispatch.sweep() == 1
    stack.wait_for(lambda: Report.objects.get().status == Report.Status.DONE)


def test_old_failures_are_forgotten() -> None:
    from operations.tasks import prune

    for days in (1, 31):
        FailedTask.objects.create(
            task=f"t{days}", task_id="x", error="E", failed_at=timezone.now() - timedelta(days=days)
        )
    prune.delay()
    stack.wait_for(lambda: FailedTask.objects.count() == 1)
    assert FailedTask.objects.get().task == "t1"


def test_every_queue_is_served_and_results_come_back() -> None:
    for queue in stack.QUEUES:
        result = whoami.apply_async(queue=queue).get(timeout=10)
        assert (result["hostname"], result["queue"]) == ("main@test", queue)
    assert whoami.delay().get(timeout=10)["queue"] == "default", "where an unrouted task goes"
    assert sleep.delay(0.01).get(timeout=10) == 0.01
    assert allocate.delay(20).get(timeout=10) > 1


def test_results_survive_a_redis_restart_under_a_running_task(worker: stack.Process) -> None:
    result = sleep.delay(3)
    stack.wait_for(lambda: stack.held() == 1)
    stack.REDIS.kill()
    stack.REDIS.start()
    assert result.get(timeout=30) == 3
    assert whoami.delay().get(timeout=20)["hostname"] == "main@test"
    stack.wait_for(lambda: stack.waiting() == 0, 30)


def test_log_lines_name_the_task_and_the_order(worker: stack.Process) -> None:
    (order,) = place_orders(product="mug", email="g@example.com", payment_token="tok_visa", count=1)
    stack.wait_for(lambda: Order.objects.get().status == Order.Status.PAID)
    stack.wait_for(
        lambda: any(
            r.get("order_id") == str(order.pk)
            and r.get("task") == "orders.tasks.process_payment"
            and r.get("task_id")
            and r["message"] == "Payment settled"
            for r in worker.records()
        )
    )
    text = worker.log()
    for secret in (stack.REDIS_PASSWORD, "tok_visa", "example.com", stack.ENVIRONMENT["SECRET_KEY"]):
        assert secret not in text
    lines = [line for line in text.splitlines() if line and not line.startswith("{")]
    assert not [line for line in lines if "Error" in line], "every error is one JSON line"


def test_diagnostic_tasks_leave_one_row_each() -> None:
    diagnostics.record_part.delay("part")
    diagnostics.record_once.delay("once")
    diagnostics.compute.delay("compute", 0.1)
    diagnostics.retry_by_code.delay("code", 2, 0.1)
    diagnostics.retry_automatically.delay("auto", 1)
    keys = {"part", "once", "compute", "code", "auto"}
    stack.wait_for(lambda: keys <= set(Effect.objects.values_list("key", flat=True)))
    stack.wait_for(lambda: stack.waiting() == 0)
    assert sorted(Effect.objects.filter(key__in=keys).values_list("key", flat=True)) == sorted(keys)
