"""Is it alive, can it work, and what is waiting?"""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from operations import health, services
from shop import api


@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers: nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_GET
def readyz(request: HttpRequest) -> HttpResponse:
    checks = health.check_all()
    ready = all(check["ok"] for check in checks.values())
    return JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    context = {
        "queues": services.queue_depths(),
        "work": services.unfinished(),
        "failures": services.recent_failures(),
    }
    template = "operations/_index.html" if "live" in request.GET else "operations/index.html"
    return render(request, template, context)


pages = [path("", index, name="index")]


@api.endpoint("GET")
def api_operations(request: HttpRequest) -> HttpResponse:
    failures = [
        {"task": f.task, "task_id": f.task_id, "error": f.error, "failed_at": f.failed_at}
        for f in services.recent_failures()
    ]
    return JsonResponse(
        {"queues": services.queue_depths(), "work": services.unfinished(), "failures": failures}
    )
