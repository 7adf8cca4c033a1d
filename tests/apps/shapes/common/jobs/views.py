from uuid import UUID

from celery.result import AsyncResult
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from jobs.models import Tick
from jobs.tasks import count_words


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The number of visits is in the cache, the number of ticks in the database."""
    cache.add("visits", 0, None)
    return render(request, "jobs/index.html", {"visits": cache.incr("visits"), "ticks": Tick.objects.count()})


@csrf_exempt
@require_POST
def create(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"id": count_words.delay(request.POST["text"]).id}, status=202)


@require_safe
def show(request: HttpRequest, job: UUID) -> JsonResponse:
    result = AsyncResult(str(job))
    return JsonResponse({"state": result.state, "result": result.result if result.successful() else None})


@require_safe
def ticks(request: HttpRequest) -> JsonResponse:
    """When the last ticks were done, in seconds since 1970, the oldest first."""
    last = Tick.objects.order_by("-at")[:100]
    return JsonResponse({"ticks": [tick.at.timestamp() for tick in reversed(last)]})
