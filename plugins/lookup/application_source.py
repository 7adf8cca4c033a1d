# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible lookup: what can be told of an application from where its code is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: application_source
short_description: What can be told of an application from where its code is
description:
  - Of a directory, the project's Python files are read and none is run. Of code that is elsewhere only the
    name is known, and the rest is what C(django-admin startproject) makes.
  - What cannot be told, or would be told twice, is empty.
options:
  _terms:
    description: As the variable C(app_source), but a path may be relative and begin with C(~).
    required: true
  settings:
    description: The settings module, where it is known.
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
    repository, the modules C(settings), C(wsgi) and C(asgi), C(celery) as C(celery -A) takes it, and
    C(queues), their names.
  type: list
"""

GIT = re.compile(r"(https|ssh|file)://|[^/\s]+@[^/\s]+:")
PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==")
# For Ansible to work out when the settings are known.
PACKAGE_OF_SETTINGS = "{{ app_settings_module.split('.')[0] }}"
LONGEST_NAME = 31
# Celery's own, where a project names none: https://docs.celeryq.dev/en/stable/userguide/configuration.html
DEFAULT_QUEUE = "celery"
SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*[,\]]\s*=?\s*["']([\w.]+)["']""")
CELERY = re.compile(r"^\w+(?:\s*:\s*\w+)?\s*=\s*(?:celery\.)?Celery\(", re.MULTILINE)
QUEUE_NAME = r"""["']([A-Za-z0-9][A-Za-z0-9._:-]*)["']"""
DEFAULT = re.compile(rf"""\b(?:CELERY_)?TASK_DEFAULT_QUEUE\b["']?\s*[=:]\s*{QUEUE_NAME}""", re.IGNORECASE)
QUEUE = re.compile(rf"""(?:\bQueue\(\s*(?:name=)?|["']queue["']\s*:\s*|\bqueue=){QUEUE_NAME}""")
# Environments and tests of the project are not what it runs.
SKIPPED = re.compile(r"\..*|tests?|test_.*\.py|site-packages|node_modules|migrations|__pycache__")


def python_files(project: Path) -> Iterator[Path]:
    """The project's Python files, relative to it, in a fixed order."""
    for path in sorted(project.rglob("*.py")):
        relative = path.relative_to(project)
        if not any(SKIPPED.fullmatch(part) for part in relative.parts):
            yield relative


def module(path: Path | None) -> str:
    """The dotted name of a Python file below the project; empty without a file."""
    return ".".join(path.with_suffix("").parts) if path else ""


def only(found: list[Path], package: str) -> Path | None:
    """The one file; of several the first that is in the package; None if that leaves none."""
    inside = [path for path in found if path.parts[0] == package]
    return next(iter(found if len(found) == 1 else inside), None)


def settings_in(text: str) -> str:
    """The settings module that a Python file names; empty if it names none."""
    found = SETTINGS.search(text)
    return found[1] if found else ""


def name_of(source: str) -> str:
    """A name for the application, made of the last part of where its code is; empty if none can be made."""
    package = PACKAGE.match(source)
    last = package[1] if package else re.split(r"[/:]", source.rstrip("/"))[-1].removesuffix(".git")
    name = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:LONGEST_NAME].rstrip("-")
    return name if re.match("[a-z]", name) else ""


def in_directory(project: Path) -> dict[str, Any]:
    """What the project's own files say. Raises OSError for a directory that cannot be read."""
    texts = {path: (project / path).read_text(errors="replace") for path in python_files(project)}
    package = settings_in(texts.get(Path("manage.py"), "")).split(".")[0]
    wsgi = only([path for path in texts if path.name == "wsgi.py"], package)
    asgi = only([path for path in texts if path.name == "asgi.py"], package)
    # manage.py often names the settings of development; a server's are in what a server loads.
    candidates = [texts[path] for path in (wsgi, asgi, Path("manage.py")) if path in texts]
    # Of shop/celery.py `celery -A` is told shop.
    celery = only([path for path, text in texts.items() if CELERY.search(text)], package)
    defaults = [name for text in texts.values() for name in DEFAULT.findall(text)] or [DEFAULT_QUEUE]
    queues = {name for text in texts.values() for name in QUEUE.findall(text)}
    return {
        "settings": next(filter(None, map(settings_in, candidates)), ""),
        "wsgi": module(wsgi),
        "asgi": module(asgi),
        "celery": module(celery).removesuffix(".celery"),
        "queues": sorted({*queues, *defaults}),
    }


def elsewhere(settings: str) -> dict[str, Any]:
    """What startproject and Celery's first steps make of a project with these settings."""
    package = settings.split(".")[0] or PACKAGE_OF_SETTINGS
    return {
        "settings": "",
        "wsgi": f"{package}.wsgi",
        "asgi": "",
        "celery": package,
        "queues": [DEFAULT_QUEUE],
    }


def describe(source: str, settings: str, relative_to: Path) -> dict[str, Any]:
    """What RETURN describes. Raises OSError for a path that is no directory which can be read."""
    git = bool(GIT.match(source))
    if git or PACKAGE.match(source) or not source:
        found = elsewhere(settings) | {"name": name_of(source), "source": source}
    else:
        given = Path(source).expanduser()
        project = given.resolve()
        os.scandir(project).close()
        # A relative path leads to the same place for all who have this inventory, wherever their clone is.
        path = (
            str(given)
            if given.is_absolute()
            else "{{ inventory_dir }}/" + os.path.relpath(project, relative_to)
        )
        found = in_directory(project) | {"name": name_of(str(project)), "source": path}
    return {**found, "git": git, "settings": settings or found["settings"]}


class LookupModule(LookupBase):  # type: ignore[misc] # Ansible's classes have no types
    """The plugin."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[Any]:
        """One dictionary for each source. Raises AnsibleLookupError for a directory that cannot be read."""
        self.set_options(var_options=variables, direct=kwargs)
        settings, relative_to = self.get_option("settings"), Path(self.get_option("relative_to")).resolve()
        try:
            return [describe(str(term), settings, relative_to) for term in terms]
        except OSError as error:
            raise AnsibleLookupError(
                f"The code cannot be read: {error.strerror}: {error.filename}. Give a directory on this "
                "machine, a Git URL, or a Python package as name==version."
            ) from None
