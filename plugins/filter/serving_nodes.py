# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible filter: which host of a group serves each host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
---
name: serving_nodes
short_description: Which host of a group serves each host
description:
  - A host is served by the member of the group on its own server, and else by the group's first one. Hosts
    with the same address are on one server.
positional: members
options:
  _input:
    description: Hosts and the address of the server of each.
    type: dict
    required: true
  members:
    description: Hosts of the group that serves.
    type: list
    elements: str
    required: true
author: Rootstock contributors
"""

EXAMPLES = r"""
# {'shop': 'shop', 'blog': 'shop', 'worker': 'shop'}
nodes: "{{ {'shop': '10.0.0.1', 'blog': '10.0.0.1', 'worker': '10.0.0.2'} | serving_nodes(['shop']) }}"
"""

RETURN = r"""
_value:
  description: For each host the one that serves it, an empty string where the group has none.
  type: dict
"""


def serving_nodes(servers: Mapping[str, str], members: Sequence[str]) -> dict[str, str]:
    """Return host to serving host; `servers` is host to address, all members among them."""
    nearest: dict[str, str] = {}
    for member in members:
        nearest.setdefault(servers[member], member)
    first = members[0] if members else ""
    return {host: nearest.get(address, first) for host, address in servers.items()}


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"serving_nodes": serving_nodes}
