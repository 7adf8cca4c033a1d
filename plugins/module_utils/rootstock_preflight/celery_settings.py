"""Rules about celery_settings: what another variable sets, what Rootstock needs, and secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from .model import Inventory
from .problems import Problem

VARIABLE = "celery_settings"
# What the environment or the workers' command line says: here it would have no effect, or two meanings.
BELONGS_TO = {
    "broker_url": "app_broker_url",
    "broker_read_url": "app_broker_url",
    "broker_write_url": "app_broker_url",
    "result_backend": "app_result_url",
    "beat_schedule_filename": "celery_beat_schedule_file",
    "task_time_limit": "time_limit of a pool in celery_worker_pools",
    "task_soft_time_limit": "soft_time_limit of a pool in celery_worker_pools",
    "worker_concurrency": "concurrency of a pool in celery_worker_pools",
    "worker_max_memory_per_child": "max_memory_per_child of a pool in celery_worker_pools",
    "worker_max_tasks_per_child": "max_tasks_per_child of a pool in celery_worker_pools",
    "worker_prefetch_multiplier": "prefetch_multiplier of a pool in celery_worker_pools",
}
NEEDED = {
    "task_always_eager": "tasks would run in the process that publishes them, and nothing would repeat them",
    "worker_enable_remote_control": "readiness, status and the watchdog ask the workers by remote control",
    "worker_pool": "what hardens the workers is made for prefork",
}
SECRET_NAME = re.compile(r"passw|secret|token|api_?key|credential", re.IGNORECASE)
SECRET_VALUE = re.compile(r"://[^/\s@]*:[^\s@]+@")


def secrets_in(value: Any, path: str) -> Iterator[str]:
    """Yield where in a value a password is."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            here = f"{path}.{name}"
            if SECRET_NAME.search(str(name)) and isinstance(part, str) and part:
                yield here
            else:
                yield from secrets_in(part, here)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from secrets_in(part, f"{path}[{index}]")
    elif isinstance(value, str) and SECRET_VALUE.search(value):
        yield path


def faults(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the settings, and how to fix it. No value is shown: it may be a password."""
    for name in settings:
        # Also as Django's settings write it; the audit says Celery's name then.
        bare = str(name).lower().removeprefix("celery_")
        if bare in BELONGS_TO:
            yield f"{VARIABLE} has {name}, which another variable sets.", f"set {BELONGS_TO[bare]} instead"
        elif bare in NEEDED:
            yield f"{VARIABLE} has {name}: {NEEDED[bare]}.", f"remove {name}"
    settable = {name: value for name, value in settings.items() if name not in BELONGS_TO}
    for path in secrets_in(settable, VARIABLE):
        says = f"{path} is or has a password, which workers would tell Flower."
        fix = "put the password into app_secret_environment, and read the password there in the settings"
        yield says, fix


def celery_settings(inventory: Inventory) -> Iterator[Problem]:
    """Refuse settings that belong elsewhere."""
    for host in inventory.of_apps():
        for says, fix in faults(host.get(VARIABLE) or {}):
            problem = inventory.problem("celery-settings", VARIABLE, [host], says, fix)
            yield replace(problem, value="")


RULES_OF_CELERY = (celery_settings,)
