"""The JSON API's way to take input and to refuse it: {"errors": {field: [message, …]}}.

A message about the request as a whole has the field name "__all__". The API uses no cookie: what it does,
anybody may do. So it needs no CSRF token; and because it insists on a JSON content type, no form of another
site can reach it.
"""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

View = Callable[..., HttpResponse]


class Refused(Exception):
    """The request cannot be carried out; nothing was changed."""

    def __init__(self, status: int, errors: dict[str, list[str]]) -> None:
        super().__init__(status, errors)
        self.status = status
        self.errors = errors


def endpoint(*methods: str) -> Callable[[View], View]:
    """Makes a view of the API: only these methods, and every refusal is JSON."""

    def decorate(view: View) -> View:
        @csrf_exempt
        @require_http_methods(methods)
        @wraps(view)
        def wrapped(request: HttpRequest, **arguments: Any) -> HttpResponse:
            try:
                return view(request, **arguments)
            except Refused as refused:
                return JsonResponse({"errors": refused.errors}, status=refused.status)
            except Http404:
                return problem(404, "Not found.")

        return wrapped

    return decorate


def problem(status: int, message: str) -> JsonResponse:
    return JsonResponse({"errors": {"__all__": [message]}}, status=status)


def validate(form_class: type[forms.Form], request: HttpRequest) -> dict[str, Any]:
    """The body as the form has cleaned it.

    Raises Refused: 415 for another content type, 400 for what is no JSON object, 422 for wrong fields.
    """
    body = _json_object(request)
    errors = {name: ["Unknown field."] for name in body if name not in form_class.base_fields}
    for name, value in body.items():
        if isinstance(value, dict | list):
            errors.setdefault(name, ["Enter a single value."])
    form = form_class({name: value for name, value in body.items() if value is not None})
    for name, messages in form.errors.items():
        errors.setdefault(name, [str(message) for message in messages])
    if errors:
        raise Refused(422, errors)
    return form.cleaned_data


def _json_object(request: HttpRequest) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Refused(415, {"__all__": ["The content type must be application/json."]})
    try:
        body = json.loads(request.body)
        # JSON can spell half a character (a lone surrogate), which no database can store.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Refused(400, {"__all__": ["The body is not valid JSON."]}) from None
    if not isinstance(body, dict):
        raise Refused(400, {"__all__": ["The body must be a JSON object."]})
    return body
