"""The payment gateway over HTTP. It says yes, it says no, or it is not known what it did."""

from dataclasses import dataclass
from typing import Any

import requests
from django.conf import settings


@dataclass(frozen=True)
class Charged:
    charge_id: str


@dataclass(frozen=True)
class Declined:
    reason: str


class OutcomeUnknown(Exception):
    """The gateway may or may not have charged: only it can tell, by the idempotency key."""


def charge(*, key: str, reference: str, amount: int, token: str) -> Charged | Declined:
    """Charges the amount (pence). The same key charges once however often it is sent.

    Raises OutcomeUnknown for every answer that is neither a yes nor a definite no.
    """
    response = _call(
        "POST",
        "/charges",
        headers={"Idempotency-Key": key},
        json={"reference": reference, "amount": amount, "currency": "GBP", "token": token},
    )
    # These refuse the request itself; other client errors (409, 429 …) leave the outcome open.
    if response.status_code in (400, 402, 422):
        return Declined(reason=_text(response, "reason") or f"refused with status {response.status_code}")
    return _outcome(response)


def find(*, key: str) -> Charged | Declined | None:
    """What became of the charge with this key; None when the gateway has never seen it.

    Raises OutcomeUnknown when the gateway does not say.
    """
    response = _call("GET", f"/charges/{key}")
    return None if response.status_code == 404 else _outcome(response)


def _call(method: str, path: str, **arguments: Any) -> requests.Response:
    timeout = settings.PAYMENT_GATEWAY_TIMEOUT
    try:
        return requests.request(
            method, settings.PAYMENT_GATEWAY_URL + path, timeout=timeout, allow_redirects=False, **arguments
        )
    except requests.RequestException as error:
        raise OutcomeUnknown(type(error).__name__) from error


def _outcome(response: requests.Response) -> Charged | Declined:
    status = _text(response, "status")
    if response.status_code in (200, 201) and status == "succeeded" and (charge := _text(response, "id")):
        return Charged(charge_id=charge[:100])
    if response.status_code in (200, 201) and status == "declined":
        return Declined(reason=_text(response, "reason") or "declined")
    raise OutcomeUnknown(f"answer with status {response.status_code}")


def _text(response: requests.Response, name: str) -> str:
    try:
        body = response.json()
    except ValueError:
        return ""
    value = body.get(name) if isinstance(body, dict) else None
    return value if isinstance(value, str) else ""
