from functools import partial

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from guestbook.models import Entry
from guestbook.tasks import thank


@require_http_methods(["GET", "HEAD", "POST"])
def entries(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        with transaction.atomic():
            entry = Entry.objects.create(
                name=request.POST["name"],
                text=request.POST["text"],
                picture=request.FILES.get("picture", ""),
            )
            transaction.on_commit(partial(thank.delay, entry.pk))
        return redirect("/")
    return render(request, "guestbook/entries.html", {"entries": Entry.objects.order_by("-pk")})


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok")
