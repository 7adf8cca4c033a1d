# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible lookup: who runs this playbook, and whether another run of this controller still goes on."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import socket
import subprocess
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: controller_run
short_description: Who runs this playbook, and whether another run still goes on
description:
  - Without a term, returns a dictionary that names this run of Ansible. It is the same in all of its tasks.
  - With such a dictionary, returns whether that run has surely ended. Of another controller's runs nothing is
    known.
options:
  _terms:
    description: At most one dictionary that this plugin has returned, in this run or another.
author: Rootstock contributors
"""

EXAMPLES = r"""
- name: Say who holds the lock
  ansible.builtin.debug:
    msg: "{{ lookup('controller_run').user }}"
"""

RETURN = r"""
_raw:
  description: >-
    C(user), C(controller), C(pid) and C(started) (when the process started, says C(ps)), or a boolean.
  type: list
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
    # Tasks are templated in processes that live for one task; their parent is the run.
    pid = os.getpid() if multiprocessing.parent_process() is None else os.getppid()
    return {
        "user": getpass.getuser(),
        "controller": socket.gethostname(),
        "pid": pid,
        "started": started(pid),
    }


def has_ended(run: Mapping[str, Any]) -> bool:
    """Whether a run was of this controller and its process is gone. Raises AnsibleLookupError for no run."""
    try:
        return bool(run["controller"] == socket.gethostname() and started(int(run["pid"])) != run["started"])
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleLookupError(f"{run!r} is not what controller_run returns: {error}") from error


class LookupModule(LookupBase):  # type: ignore[misc] # Ansible's classes have no types
    """The plugin."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[Any]:
        """One value: this run without a term, a boolean with one."""
        return [has_ended(terms[0]) if terms else this_run()]
