# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible filter: environment variables under the names that an application reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DOCUMENTATION = r"""
---
name: environment_names
short_description: Environment variables under the names that an application reads
description:
  - Gives each variable the name, or the names, that the application reads it by. Those that no name is given
    for keep their own.
positional: names
options:
  _input:
    description: Variables and their values.
    type: dict
    required: true
  names:
    description: For a variable, the name or the list of names that take the place of its own.
    type: dict
    required: true
author: Rootstock contributors
"""

EXAMPLES = r"""
# {'DB': 'postgresql://…', 'REDIS': 'redis://…', 'QUEUE': 'redis://…'}
environment: >-
  {{ {'DATABASE_URL': 'postgresql://…', 'CELERY_BROKER_URL': 'redis://…'}
     | environment_names({'DATABASE_URL': 'DB', 'CELERY_BROKER_URL': ['REDIS', 'QUEUE']}) }}
"""

RETURN = r"""
_value:
  description: The values under their new names.
  type: dict
"""


def environment_names(values: Mapping[str, Any], names: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """Return the values under the names that `names` gives, one or several; others keep their own."""
    found = {}
    for name, value in values.items():
        given = names.get(name, name)
        for alias in [given] if isinstance(given, str) else given:
            found[alias] = value
    return found


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"environment_names": environment_names}
