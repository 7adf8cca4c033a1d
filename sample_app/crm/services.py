"""Leads, and the CRM over HTTP."""

import uuid

import requests
from django.conf import settings
from django.db import transaction
from django.db.models import F

from crm.models import Lead
from dispatch import services as dispatch

#: Tries to reach the CRM before a lead counts as failed.
MAX_ATTEMPTS = 6
#: Seconds to wait for the CRM's answer.
TIMEOUT = 10
#: Seconds for which a task holds the lead; more than its time limit.
LEASE = 60


def add_lead(*, name: str, email: str, phone: str) -> Lead:
    with transaction.atomic():
        lead = Lead.objects.create(name=name, email=email, phone=phone)
        dispatch.enqueue([lead])
    return lead


def sync_lead(lead_id: uuid.UUID) -> None:
    """Sends the lead to the CRM unless that is done or another task is at it.

    Raises requests.RequestException when the CRM does not take it. Its id makes a repetition harmless.
    """
    if not Lead.objects.all().claim(lead_id, LEASE, attempts=F("attempts") + 1):
        return
    lead = Lead.objects.get(pk=lead_id)
    requests.post(
        f"{settings.CRM_URL}/leads",
        json={"name": lead.name, "email": lead.email, "phone": lead.phone},
        headers={"Idempotency-Key": f"lead-{lead.pk}"},
        timeout=TIMEOUT,
    ).raise_for_status()
    _finish(lead_id, Lead.Status.SYNCED)


def postpone(lead_id: uuid.UUID, seconds: float) -> None:
    """Gives the lead back to be tried again in so many seconds."""
    Lead.objects.filter(pk=lead_id, status=Lead.Status.PENDING).update(**Lead.release(seconds))


def give_up(lead_id: uuid.UUID) -> None:
    _finish(lead_id, Lead.Status.FAILED)


def _finish(lead_id: uuid.UUID, status: str) -> None:
    Lead.objects.filter(pk=lead_id, status=Lead.Status.PENDING).update(status=status, **Lead.release(None))
