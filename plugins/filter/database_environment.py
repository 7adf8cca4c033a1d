# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible filter: the parts of a database's URL under the names that an application reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

DOCUMENTATION = r"""
---
name: database_environment
short_description: The parts of a database's URL under the names that an application reads
description:
  - Gives each part of a PostgreSQL URL the name, or the names, that the application reads it by. Parts
    without a name are left out. What the URL encodes is decoded.
positional: names
options:
  _input:
    description: URL of the database.
    type: str
    required: true
  names:
    description: For C(host), C(port), C(name), C(user) and C(password), a name or a list of names.
    type: dict
    required: true
  secret:
    description: Whether the password is wanted, or the other parts.
    type: bool
    required: true
author: Rootstock contributors
"""

EXAMPLES = r"""
# {'DB_HOST': '10.0.0.1', 'DB_USER': 'shop'}
environment: >-
  {{ 'postgresql://shop:p%2Fw@10.0.0.1/shop'
     | database_environment({'host': 'DB_HOST', 'user': 'DB_USER'}, secret=false) }}
"""

RETURN = r"""
_value:
  description: The parts under their names, all of them text.
  type: dict
"""

DEFAULT_PORT = 5432


def database_environment(url: str, names: Mapping[str, str | list[str]], secret: bool) -> dict[str, str]:
    """Return the password, or all other parts, under the names that `names` gives."""
    address = urlsplit(url)
    parts = {"password": unquote(address.password or "")}
    if not secret:
        parts = {
            "host": unquote(address.hostname or ""),
            "port": str(address.port or DEFAULT_PORT),
            "name": unquote(address.path.removeprefix("/")),
            "user": unquote(address.username or ""),
        }
    found = {}
    for part, given in names.items():
        for name in [given] if isinstance(given, str) else given:
            if part in parts:
                found[name] = parts[part]
    return found


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., dict[str, str]]]:
        return {"database_environment": database_environment}
