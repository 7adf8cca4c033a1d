"""Bad input is refused with the field's name, and nothing is enqueued. No worker runs."""

import re
import uuid
from typing import Any

import pytest
import requests

from accounts.models import User
from crm.models import Lead
from orders.models import Order
from reports.models import Report
from tests import stack

GOOD = {"product": "mug", "email": "a@example.com"}


def nothing_happened() -> bool:
    rows = [model.objects.exists() for model in (Order, Lead, User, Report)]
    return not any(rows) and stack.waiting() == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"product": "yacht"}, "product"),
        ({"product": None}, "product"),
        ({"product": ["mug"]}, "product"),
        ({"email": "nobody"}, "email"),
        ({"email": ""}, "email"),
        ({"email": "a@example.com\u0000"}, "email"),
        ({"email": {"a": 1}}, "email"),
        ({"payment_token": "tok_stolen"}, "payment_token"),
        ({"count": 0}, "count"),
        ({"count": -1}, "count"),
        ({"count": 501}, "count"),
        ({"count": 10**30}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": True}, "count"),
        ({"count": "many"}, "count"),
        ({"amount": 1}, "amount"),
    ],
)
def test_wrong_field_of_an_order(
    http: requests.Session, site: str, change: dict[str, Any], field: str
) -> None:
    response = http.post(f"{site}/api/orders", json=GOOD | change, timeout=10)
    assert response.status_code == 422, response.text
    assert list(response.json()["errors"]) == [field]
    assert response.json()["errors"][field][0]
    assert nothing_happened()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"mug"',
        b"\xff\xfe",
        b'{"product": "mug", "email": "\\ud800@example.com"}',
        b'{"count": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
    ids=["empty", "cut", "null", "list", "string", "bytes", "surrogate", "digits", "deep"],
)
def test_body_that_is_no_json_object(http: requests.Session, site: str, body: bytes) -> None:
    response = http.post(
        f"{site}/api/orders", data=body, headers={"Content-Type": "application/json"}, timeout=10
    )
    assert response.status_code == 400, response.text
    assert response.json()["errors"]["__all__"]
    assert nothing_happened()


def test_form_content_type_is_refused_by_the_api(http: requests.Session, site: str) -> None:
    response = http.post(f"{site}/api/orders", data=GOOD, timeout=10)
    assert response.status_code == 415
    assert nothing_happened()


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("leads", {"name": "A", "email": "x"}, "email"),
        ("leads", {"email": "a@example.com"}, "name"),
        ("leads", {"name": "A", "email": "a@example.com", "phone": "call me"}, "phone"),
        ("accounts", {"name": "A", "email": "a@example.com", "password": "short"}, "password"),
        ("accounts", {"name": "A", "email": "a@", "password": "correct horse"}, "email"),
    ],
)
def test_wrong_field_of_others(
    http: requests.Session, site: str, path: str, body: dict[str, str], field: str
) -> None:
    response = http.post(f"{site}/api/{path}", json=body, timeout=10)
    assert response.status_code == 422, response.text
    assert list(response.json()["errors"]) == [field]
    assert nothing_happened()


def test_an_address_is_registered_once(http: requests.Session, site: str) -> None:
    body = {"name": "A", "email": "Twice@Example.com", "password": "correct horse"}
    assert http.post(f"{site}/api/accounts", json=body, timeout=10).status_code == 201
    again = http.post(f"{site}/api/accounts", json=body | {"email": "twice@example.com"}, timeout=10)
    assert again.status_code == 422
    assert "email" in again.json()["errors"]
    assert User.objects.count() == 1
    assert stack.broker().llen("default") == 1


def post_form(http: requests.Session, url: str, **fields: str) -> requests.Response:
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', http.get(url, timeout=10).text)
    assert token
    data = fields | {"csrfmiddlewaretoken": token[1]}
    return http.post(url, data=data, headers={"Referer": url}, timeout=10)


def test_wrong_form_is_shown_again_with_its_message(http: requests.Session, site: str) -> None:
    response = post_form(http, f"{site}/", product="mug", email="nobody", payment_token="tok_visa", count="1")
    assert response.status_code == 422
    assert "Enter a valid email address." in response.text
    assert 'value="nobody"' in response.text
    assert nothing_happened()


def test_form_without_csrf_token_is_refused(http: requests.Session, site: str) -> None:
    assert http.post(f"{site}/", data=GOOD, headers={"Referer": site}, timeout=10).status_code == 403
    assert nothing_happened()


def test_unknown_things_are_not_found(http: requests.Session, site: str) -> None:
    nobody = uuid.uuid4()
    pages = [f"/orders/{nobody}/", f"/reports/{nobody}/", "/orders/1/", "/nowhere/"]
    calls = [f"/api/orders/{nobody}", f"/api/reports/{nobody}", f"/api/leads/{nobody}", "/api/nowhere"]
    calls += [f"/api/orders?batch={nobody}", "/api/orders/1"]
    for path in pages + calls:
        response = http.get(site + path, timeout=10)
        assert response.status_code == 404, path
        assert response.headers["Content-Type"].startswith(
            "application/json" if path in calls else "text/html"
        )
    assert http.post(f"{site}/api/orders/{nobody}/cancel", timeout=10).status_code == 404
    assert http.get(f"{site}/api/orders?batch=x", timeout=10).status_code == 422
    assert http.put(f"{site}/api/orders", json=GOOD, timeout=10).status_code == 405
    assert nothing_happened()


def test_an_order_is_cancelled_only_before_its_payment(http: requests.Session, site: str) -> None:
    order = http.post(f"{site}/api/orders", json=GOOD, timeout=10).json()["orders"][0]
    first = http.post(f"{site}{order['url']}/cancel", timeout=10)
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert http.post(f"{site}{order['url']}/cancel", timeout=10).status_code == 409
