"""Registration, sign-in, and one's own page."""

from typing import Any

from django.contrib.auth import login, views
from django.contrib.auth.decorators import login_required
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_GET, require_http_methods

from accounts import services
from accounts.forms import RegistrationForm
from accounts.models import User
from shop import api

#: Two registrations at the same moment pass the form's check; the database lets one of them in.
TAKEN = "This address is already registered."


@require_http_methods(["GET", "HEAD", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    form = RegistrationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = _register(form.cleaned_data)
        if user:
            login(request, user)
            return redirect("accounts:me")
        form.add_error("email", TAKEN)
    return render(request, "accounts/register.html", {"form": form}, status=422 if form.errors else 200)


@require_GET
@login_required
def me(request: HttpRequest) -> HttpResponse:
    template = "accounts/_me.html" if "live" in request.GET else "accounts/me.html"
    return render(request, template, {"mail": getattr(request.user, "welcome_mail", None)})


pages = [
    path("", me, name="me"),
    path("register/", register, name="register"),
    path("login/", views.LoginView.as_view(template_name="accounts/login.html"), name="login"),
    path("logout/", views.LogoutView.as_view(), name="logout"),
]


@api.endpoint("POST")
def api_accounts(request: HttpRequest) -> HttpResponse:
    user = _register(api.validate(RegistrationForm, request))
    if not user:
        raise api.Refused(422, {"email": [TAKEN]})
    return JsonResponse({"id": user.pk}, status=201)


def _register(data: dict[str, Any]) -> User | None:
    try:
        return services.register(**data)
    except IntegrityError:
        return None
