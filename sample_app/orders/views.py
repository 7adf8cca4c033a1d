"""Pages and API of orders."""

import uuid
from collections import Counter
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from orders import services
from orders.forms import OrderForm
from orders.models import Order
from shop import api


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        batch = str(services.place_orders(**form.cleaned_data)[0].batch)
        request.session["batches"] = [batch, *request.session.get("batches", [])][:5]
        return redirect("orders:batch", batch=batch)
    batches = [_batch(uuid.UUID(batch)) for batch in request.session.get("batches", [])]
    context = {"form": form, "batches": [batch for batch in batches if batch["orders"]]}
    return render(request, "orders/new.html", context, status=422 if form.errors else 200)


@require_GET
def batch(request: HttpRequest, batch: uuid.UUID) -> HttpResponse:
    orders = _batch(batch)
    if not orders["orders"]:
        raise Http404
    template = "orders/_batch.html" if "live" in request.GET else "orders/batch.html"
    return render(request, template, orders)


@require_POST
def cancel(request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
    order = get_object_or_404(Order, pk=order_id)
    # The page shows the state that it has now, whether that was still possible or not.
    services.cancel_order(order.pk)
    return redirect("orders:batch", batch=order.batch)


pages = [
    path("", new, name="new"),
    path("orders/<uuid:batch>/", batch, name="batch"),
    path("orders/<uuid:order_id>/cancel/", cancel, name="cancel"),
]


@api.endpoint("GET", "POST")
def api_orders(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        orders = services.place_orders(**api.validate(OrderForm, request))
        return JsonResponse(_batch_as_json(_batch(orders[0].batch)), status=201)
    try:
        wanted = uuid.UUID(request.GET.get("batch", ""))
    except ValueError:
        raise api.Refused(422, {"batch": ["Name the batch: ?batch=<its id>."]}) from None
    found = _batch(wanted)
    if not found["orders"]:
        return api.problem(404, "There is no such batch.")
    return JsonResponse(_batch_as_json(found))


@api.endpoint("GET")
def api_order(request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
    return JsonResponse(_as_json(get_object_or_404(Order, pk=order_id)))


@api.endpoint("POST")
def api_cancel(request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
    order = get_object_or_404(Order, pk=order_id)
    if not services.cancel_order(order.pk):
        return api.problem(409, "Its payment has begun.")
    order.refresh_from_db()
    return JsonResponse(_as_json(order))


def _batch(batch: uuid.UUID) -> dict[str, Any]:
    """The orders that were placed together, and how many are in which state."""
    orders = list(Order.objects.filter(batch=batch).order_by("created_at", "pk"))
    numbers = Counter(order.status for order in orders)
    return {
        "batch": batch,
        "orders": orders,
        "counts": [(status, numbers[status]) for status in Order.Status if numbers[status]],
        "finished": sum(order.is_final for order in orders),
        "final": all(order.is_final for order in orders),
    }


def _batch_as_json(batch: dict[str, Any]) -> dict[str, Any]:
    return {
        "batch": str(batch["batch"]),
        "page": reverse("orders:batch", args=[batch["batch"]]),
        "final": batch["final"],
        "counts": {status.value: number for status, number in batch["counts"]},
        "orders": [_as_json(order) for order in batch["orders"]],
    }


def _as_json(order: Order) -> dict[str, Any]:
    return {
        "id": str(order.pk),
        "url": reverse("api:order", args=[order.pk]),
        "product": order.product,
        "amount": order.amount,
        "status": order.status,
        "final": order.is_final,
    }
