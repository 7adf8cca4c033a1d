from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from pages.models import Page
from pages.tasks import render as render_page


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        render_page.delay(Page.objects.create(source=request.POST["source"]).pk)
        return redirect("/")
    return render(request, "pages/index.html", {"pages": Page.objects.order_by("-pk")})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"ready": True, "request": type(request).__name__})
