# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible lookup: what can be told of an application from where its code is."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

# From a clone this module is ansible.plugins.lookup.application_source, from a collection
# ansible_collections.…: only its path says where the package beside it is.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from rootstock_source.describe import describe

DOCUMENTATION = r"""
name: application_source
short_description: What can be told of an application from where its code is
description:
  - The project's files are read and nothing of it is run. Of a repository and of a package there is a copy
    for as long as that takes. Of code that cannot be reached only the name is known, and the rest is what
    C(django-admin startproject) makes.
  - What cannot be told, or would be told twice, is empty.
options:
  _terms:
    description: As the variable C(app_source), but a path may be relative and begin with C(~).
    required: true
  settings:
    description: The settings module, where it is known.
    type: str
    default: ""
  ref:
    description: Branch, tag or commit of a Git repository.
    type: str
    default: ""
  key:
    description: Private key that may read the repository.
    type: path
    default: ""
  index:
    description: URL of the index of Python packages. The default is pip's own.
    type: str
    default: ""
  relative_to:
    description: Directory from which a relative path is meant to lead, such as an inventory's.
    type: path
    required: true
author: Rootstock contributors
"""

EXAMPLES = r"""
- name: Say which settings module a project has
  ansible.builtin.debug:
    msg: "{{ lookup('application_source', 'sample_app', relative_to=inventory_dir).settings }}"
"""

RETURN = r"""
_raw:
  description: >-
    A dictionary: C(name) for the application, C(source) without a relative path, C(git) whether that is a
    repository, C(ref) and C(directory) of it, the modules C(settings), C(wsgi) and C(asgi), C(celery) as
    C(celery -A) takes it, C(pools) of workers, C(environment) for C(app_environment), C(blocks) of further
    variables as YAML, and what is to be said of it: C(found), C(guessed) and C(missing).
  type: list
"""


class LookupModule(LookupBase):  # type: ignore[misc] # Ansible's classes have no types
    """The plugin."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[Any]:
        """One dictionary for each source. Raises AnsibleLookupError for a directory that cannot be read."""
        self.set_options(var_options=variables, direct=kwargs)
        given = {name: self.get_option(name) or "" for name in ("ref", "key", "index")}
        settings, relative_to = self.get_option("settings"), Path(self.get_option("relative_to")).resolve()
        try:
            return [asdict(describe(str(term), settings, relative_to, **given)) for term in terms]
        except OSError as error:
            raise AnsibleLookupError(
                f"The code cannot be read: {error.strerror}: {error.filename}. Give a directory on this "
                "machine, a Git URL, or a Python package as name==version."
            ) from None
