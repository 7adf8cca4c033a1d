"""What an entry of a queue must be so that Celery can take it, and how often it was delivered."""

import binascii
import json
import os
from base64 import b64decode
from typing import Any

#: How often a message was given back after its process had died, in its delivery_info: kombu's own note,
#: `redelivered`, does not count.
DELIVERIES = "rootstock_deliveries"
DEFAULT_LIMIT = 5
#: How often it was put back because what follows it could not be published; and how often that is done: for
#: more than eight minutes of a Redis that refuses to write.
PUT_BACKS = "rootstock_put_backs"
MAX_PUT_BACKS = 100


def limit_of(variable: str = "ROOTSTOCK_MAX_DELIVERIES") -> int:
    """Return how often a message is delivered at most. Raises ValueError for what is no positive number."""
    value = os.environ.get(variable, str(DEFAULT_LIMIT))
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"{variable} is '{value}': it must be a positive whole number")
    return int(value)


# Read when the worker starts: a wrong value must not wait for the first redelivery to be found.
MAX_DELIVERIES = limit_of()


def fault_of(item: bytes | str) -> str:
    """Return why a list entry is no message that Celery could take, empty if it is one.

    The fields are those that kombu.transport.virtual.base.Message and Celery's consumer read unconditionally.
    """
    try:
        message = json.loads(item)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}"
    if not isinstance(message, dict):
        return f"no JSON object but {type(message).__name__}"
    properties = message.get("properties")
    if not isinstance(properties, dict):
        return "no properties"
    if not isinstance(properties.get("delivery_tag"), str):
        return "no delivery_tag"
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, dict) or not {"exchange", "routing_key"} <= delivery.keys():
        return "no delivery_info with exchange and routing_key"
    if not isinstance(message.get("headers", {}), dict):
        return "headers are no JSON object"
    return _fault_of_body(message.get("body"), properties.get("body_encoding"))


def _fault_of_body(body: Any, encoding: Any) -> str:
    if body is not None and not isinstance(body, str):
        return "body is no text"
    if encoding == "base64" and body:
        try:
            b64decode(body)
        except (binascii.Error, ValueError) as error:
            return f"body is no base64: {error}"
    elif encoding not in (None, "", "utf-8", "base64"):
        return f"body_encoding {encoding!r} is unknown"
    return ""


def fault_of_deliveries(item: bytes | str) -> str:
    """Return why a message is not delivered once more, empty if it is."""
    text = item if isinstance(item, bytes) else item.encode()
    # Almost no message was given back, and parsing each one twice would cost.
    if DELIVERIES.encode() not in text and PUT_BACKS.encode() not in text:
        return ""
    delivery = json.loads(item)["properties"]["delivery_info"]
    if (count := int(delivery.get(DELIVERIES, 0))) >= MAX_DELIVERIES:
        return f"delivered {count} times, and each time its process died"
    if (count := int(delivery.get(PUT_BACKS, 0))) >= MAX_PUT_BACKS:
        return f"run {count} times, and each time its retry or result could not be written"
    return ""
