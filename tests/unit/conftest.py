"""Ansible reads its configuration when it is imported: name the repository's before any test does that."""

import os

from repository import PROJECT

os.environ["ANSIBLE_CONFIG"] = str(PROJECT / "ansible.cfg")
os.environ["ANSIBLE_HOME"] = str(PROJECT / ".cache/ansible")
os.environ["ANSIBLE_NOCOLOR"] = "1"
