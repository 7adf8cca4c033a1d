"""Errors that belong to no app."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from shop.api import problem


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse | JsonResponse:
    if request.path.startswith("/api/"):
        return problem(404, "There is nothing here.")
    return render(request, "404.html", status=404)
