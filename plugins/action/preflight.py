# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible action: refuse an inventory, or servers, with everything that is wrong with them in one message."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
# From a clone this module is ansible.plugins.action.preflight, from a collection ansible_collections.…: only
# its path says where the package beside it is. A module and a role's program refuse by rules that are theirs.
for place in ("plugins/module_utils", "plugins/modules", "roles/django_app/files"):
    sys.path.insert(0, str(ROOT / place))

from rootstock_preflight import catalogue, judgement, reader, report, servers  # noqa: E402 - the path comes first, 2026-11-24

DOCUMENTATION = r"""
---
module: preflight
short_description: Refuse what would fail half-way, all of it at once
description:
  - Looks at the variables of all hosts of the inventory, whatever the run's limit is, and connects to none.
  - Fails with one message that lists every problem. docs/preflight.md has the rules.
options:
  phase:
    description: V(inventory) looks at the variables, V(servers) at what the servers of the run have said.
    type: str
    choices: [inventory, servers]
    required: true
  facts:
    description: For V(servers), by host, what C(server_facts.py) printed.
    type: dict
    default: {}
author: Rootstock contributors
"""

EXAMPLES = r"""
- name: Refuse what the inventory cannot mean
  preflight:
    phase: inventory
  run_once: true
"""


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible's classes have no types
    """The action."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"phase", "facts"})

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failed result with all problems, or one that says how much was looked at."""
        super().run(tmp, task_vars)
        arguments = self._task.args
        hostvars = (task_vars or {})["hostvars"]
        known = catalogue.read(ROOT)
        # An action gets the variables of hosts, and what the inventory itself says only through these two.
        own = reader.Reader(hostvars._inventory, hostvars._variable_manager, self._loader, ROOT, known)
        if arguments["phase"] == "servers":
            inventory = own.read(wiring=False)
            facts = {host: json.loads(said) for host, said in arguments["facts"].items()}
            pool_defaults = catalogue.load(ROOT / "roles/celery/vars/main.yml")["__celery_pool_defaults"]
            problems = servers.problems_of_servers(inventory, facts, pool_defaults)
            place, outcome = "these servers", "Nothing was changed on any."
        else:
            inventory = own.read()
            problems = judgement.problems_of(inventory, own.role_problems)
            place, outcome = "this inventory", "No host was touched."
        found = report.merged(problems)
        if found:
            return {"failed": True, "msg": report.text_of(found, place, outcome, inventory)}
        return {"changed": False, "msg": f"{len(inventory.hosts)} hosts, no problem."}
