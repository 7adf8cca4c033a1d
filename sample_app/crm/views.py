"""API of leads; the page that makes them is the registration."""

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from crm import services
from crm.forms import LeadForm
from crm.models import Lead
from shop import api


@api.endpoint("POST")
def api_leads(request: HttpRequest) -> HttpResponse:
    return JsonResponse(_as_json(services.add_lead(**api.validate(LeadForm, request))), status=201)


@api.endpoint("GET")
def api_lead(request: HttpRequest, lead_id: uuid.UUID) -> HttpResponse:
    return JsonResponse(_as_json(get_object_or_404(Lead, pk=lead_id)))


def _as_json(lead: Lead) -> dict[str, Any]:
    return {
        "id": str(lead.pk),
        "url": reverse("api:lead", args=[lead.pk]),
        "status": lead.status,
        "final": lead.due_at is None,
        "attempts": lead.attempts,
    }
