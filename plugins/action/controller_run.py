# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible action: who runs this playbook, and whether another run of this controller still goes on."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import socket
import subprocess
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

DOCUMENTATION = r"""
---
module: controller_run
short_description: Who runs this playbook, and whether another run still goes on
description:
  - Names this run of Ansible. The name is the same in all of its tasks.
  - Runs on the controller and connects to no host.
options:
  other:
    description:
      - What this action has returned in another run. Then RV(ended) says whether that run has surely ended.
        Of the runs of another controller nothing is known.
    type: dict
author: Rootstock contributors
"""

EXAMPLES = r"""
- name: Name this run
  controller_run:
  register: this

- name: Say who it is
  ansible.builtin.debug:
    msg: "{{ this.run.user }}"
"""

RETURN = r"""
run:
  description: C(user), C(controller), C(pid) and C(started) (when the process started, says C(ps)).
  returned: always
  type: dict
ended:
  description: Whether the other run was of this controller and its process is gone.
  returned: if O(other) is given
  type: bool
"""


def started(pid: int) -> str:
    """When a process of this machine started, as ps prints it; empty if there is none."""
    # BSD's and Linux's ps both know it. The locale is fixed: another run may have another one.
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}
    )
    return " ".join(result.stdout.split())


def this_run() -> dict[str, Any]:
    """User, controller, process id and its start time of this run of Ansible."""
    # Tasks run in processes that live for one task; their parent is the run.
    pid = os.getpid() if multiprocessing.parent_process() is None else os.getppid()
    return {
        "user": getpass.getuser(),
        "controller": socket.gethostname(),
        "pid": pid,
        "started": started(pid),
    }


def has_ended(run: Mapping[str, Any]) -> bool:
    """Whether a run was of this controller and its process is gone. Raises AnsibleActionFail for no run."""
    try:
        return bool(run["controller"] == socket.gethostname() and started(int(run["pid"])) != run["started"])
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleActionFail(f"{run!r} is not what controller_run returns: {error}") from error


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible's classes have no types
    """The action."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"other"})

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return who runs this, and whether the other run has ended if one is given."""
        super().run(tmp, task_vars)
        found: dict[str, Any] = {"changed": False, "run": this_run()}
        if "other" in self._task.args:
            found["ended"] = has_ended(self._task.args["other"])
        return found
