"""Rules about what a release is made of, and what runs of it at set times."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from release_archive import fault_of_overlay, faults_of_paths

from .model import Inventory
from .problems import Problem

PAGE = re.compile(r"/[!-~]*")
TIMER_NAME = re.compile(r"[a-z0-9-]+")
# A management command with its arguments, on one line.
COMMAND = re.compile(r"(?!(python|django-admin)|.*manage[.]py)[A-Za-z0-9_][^\n]*")


def faults_of_file(file: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the content of a file that is added, and the way to fix it."""
    says = f"app_files has '{file.get('path')}'"
    template = file.get("template")
    if (template is None) == (file.get("content") is None):
        has = "both content and template" if template is not None else "neither content nor template"
        yield f"{says} with {has}: a file has one of them.", "set content or template"
    elif template is not None and not (Path(template).is_absolute() and Path(template).is_file()):
        yield f"{says} with template {template}: it is no file.", "begin it with {{ inventory_dir }}"
    if file.get("secret") is True and str(file.get("mode") or "")[-1:] not in ("", "0"):
        yield f"{says} with secret and mode {file['mode']}: everybody could read it.", "leave mode out"


def files(inventory: Inventory) -> Iterator[Problem]:
    """Refuse files that a release cannot have."""
    for host in inventory.of_apps():
        given = host.get("app_files") or []
        found = [(f"{says}.", fix) for says, fix in faults_of_paths(str(file.get("path")) for file in given)]
        found += [fault for file in given for fault in faults_of_file(file)]
        for says, fix in found:
            yield inventory.problem("files", "app_files", [host], says, fix)


def settings_overlay(inventory: Inventory) -> Iterator[Problem]:
    """Refuse settings that are no Python."""
    for host in inventory.of_apps():
        if fault := fault_of_overlay(str(host.get("app_settings_overlay"))):
            says, fix = fault
            yield inventory.problem("settings-overlay", "app_settings_overlay", [host], f"{says}.", fix)


def build_commands(inventory: Inventory) -> Iterator[Problem]:
    """Refuse build commands that are not one line."""
    for host in inventory.of_apps():
        for command in host.get("django_app_build_commands") or []:
            if not command.strip() or len(command.strip().splitlines()) > 1:
                says = "A build command is one line of a shell."
                fix = "make each line an item, or join them with &&"
                yield inventory.problem(
                    "build-commands", "django_app_build_commands", [host], says, fix, value=command
                )


def smoke_paths(inventory: Inventory) -> Iterator[Problem]:
    """Refuse pages that no URL can name."""
    variable = "django_app_smoke_paths"
    for host in inventory.of_apps():
        for path in host.get(variable) or []:
            if not PAGE.fullmatch(path):
                says = f"{variable} has '{path}', which is no path of a page."
                yield inventory.problem(
                    "smoke-paths", variable, [host], says, "begin it with /, without spaces", value=path
                )


def faults_of_timer(timer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a timer by itself, and the way to fix it."""
    name = timer["name"]
    if not TIMER_NAME.fullmatch(name):
        yield f"app_timers has the name '{name}', which is part of a unit's name.", "use a-z, 0-9 and hyphens"
    if not COMMAND.fullmatch(timer["command"]):
        says = f"The command of the timer {name} is no management command on one line."
        yield says, "leave out manage.py, such as clearsessions"
    if int(timer.get("time_limit", 1)) < 1:
        yield (
            f"The time_limit of the timer {name} is less than a second.",
            "raise it, or leave it out for 3600",
        )


def timers(inventory: Inventory) -> Iterator[Problem]:
    """Refuse timers that systemd could not have."""
    for host in inventory.of_apps():
        given = host.get("app_timers") or []
        found = [fault for timer in given for fault in faults_of_timer(timer)]
        found += [
            (f"app_timers has {name} {count} times.", "give each timer its own name")
            for name, count in Counter(timer["name"] for timer in given).items()
            if count > 1
        ]
        for says, fix in found:
            yield inventory.problem("timers", "app_timers", [host], says, fix)


RULES_OF_RELEASES = (files, settings_overlay, build_commands, smoke_paths, timers)
