"""Pages and API of reports."""

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_http_methods

from reports import services
from reports.models import Report
from shop import api


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return redirect("reports:report", report_id=services.start_report().pk)
    return render(request, "reports/index.html", {"reports": Report.objects.order_by("-created_at")[:10]})


@require_GET
def report(request: HttpRequest, report_id: uuid.UUID) -> HttpResponse:
    found = get_object_or_404(Report, pk=report_id)
    context = {"report": found, "total": sum(row["amount"] for row in found.rows)}
    template = "reports/_report.html" if "live" in request.GET else "reports/report.html"
    return render(request, template, context)


pages = [
    path("", index, name="index"),
    path("<uuid:report_id>/", report, name="report"),
]


@api.endpoint("POST")
def api_reports(request: HttpRequest) -> HttpResponse:
    return JsonResponse(_as_json(services.start_report()), status=201)


@api.endpoint("GET")
def api_report(request: HttpRequest, report_id: uuid.UUID) -> HttpResponse:
    return JsonResponse(_as_json(get_object_or_404(Report, pk=report_id)))


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "id": str(report.pk),
        "url": reverse("api:report", args=[report.pk]),
        "page": reverse("reports:report", args=[report.pk]),
        "status": report.status,
        "progress": report.progress,
        "final": report.is_final,
        "rows": report.rows,
    }
