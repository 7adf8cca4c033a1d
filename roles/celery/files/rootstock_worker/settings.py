"""Settings of Celery that the inventory gives (celery_settings), whatever the application says itself.

Celery's documented place, app.conf in on_after_configure, is not enough: an application may write there
later, and what Django's settings say in a namespace wins over what is written there. So this uses Celery's
inside: app.conf.NAME and app.conf.get("NAME") both read by Settings.__getitem__ (tried with Celery 5.3, 5.6).
"""

import json
import os
from collections.abc import Callable
from typing import Any

from celery.app.utils import Settings

#: A JSON object, in the application's environment.
VARIABLE = "ROOTSTOCK_CELERY_SETTINGS"
#: The setting is a dictionary of which the inventory may give a part.
MERGED = "_transport_options"


def reader(read: Callable[[Any, str], Any], given: dict[str, Any]) -> Callable[[Any, str], Any]:
    """Return what reads a setting as before, except those that are given."""

    def value(conf: Any, name: str) -> Any:
        if name not in given:
            return read(conf, name)
        if not name.endswith(MERGED):
            return given[name]
        # A copy, because an application may use one dictionary for two settings. It is kept as long as the
        # application's stays the same: what the application writes into it is not lost.
        own = read(conf, name)
        kept = conf.__dict__.setdefault("_rootstock_merged", {})
        if name not in kept or kept[name][0] is not own:
            kept[name] = own, dict(own or {})
        kept[name][1].update(given[name])
        return kept[name][1]

    return value


def install() -> None:
    """Have every application of this process read them."""
    if text := os.environ.get(VARIABLE):
        Settings.__getitem__ = reader(Settings.__getitem__, json.loads(text))
