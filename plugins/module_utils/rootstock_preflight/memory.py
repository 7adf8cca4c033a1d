"""How much memory the programs of a server may take at the same time.

Counted is what the inventory limits. Beat, Flower and a user's extra programs have no limit and are left out.
"""

from __future__ import annotations

import re
from typing import Any

from .model import Host
from .values import is_whole_number

KIB = 1024
# A Gunicorn process has no limit to read. This is a Django application of middling size.
WEB_PROCESS = 200 * KIB
# Redis forks to rewrite its file, and what is written meanwhile is there twice.
REDIS_FACTOR = 1.25
POSTGRESQL_CONNECTION = 1 * KIB
SYSTEM = 256 * KIB
UNITS = {"mb": KIB, "gb": KIB * KIB}


def size(text: Any) -> int:
    """Return the KiB of a size such as 256mb or 1GB; 0 for what is none, which a role refuses."""
    match = re.fullmatch(r"([1-9]\d*)(mb|gb)", str(text).lower())
    return int(match[1]) * UNITS[match[2]] if match else 0


def number(value: Any, default: int = 0) -> int:
    """Return a whole number that may come as digits."""
    return int(value) if is_whole_number(value) else default


def budget(hosts: list[Host], pool_defaults: dict[str, Any]) -> dict[str, int]:
    """Return the KiB that each kind of program of one server may take.

    `hosts` are all hosts of the inventory that are this server; `pool_defaults` is what a pool has that does
    not say otherwise (concurrency, max_memory_per_child in KiB).
    """
    found = {"system": SYSTEM}
    for host in hosts:
        if host.is_in("workers"):
            # Old and new ones are there at once, unless the old ones finish first.
            times = 1 if host.get("generation_strategy") == "drain_first" else 2
            pools = [{**pool_defaults, **pool} for pool in host.get("celery_worker_pools") or []]
            own = sum(number(pool["concurrency"]) * number(pool["max_memory_per_child"]) for pool in pools)
            found["workers"] = found.get("workers", 0) + own * times
        if host.is_in("web"):
            own = number(host.get("django_app_gunicorn_workers")) * WEB_PROCESS
            found["web"] = found.get("web", 0) + own * 2
        # A server has one of each, whichever host brings it.
        if host.is_in("redis"):
            data = size(host.get("redis_maxmemory"))
            data += size(host.get("redis_cache_maxmemory")) if host.get("redis_cache_enabled") is True else 0
            found["redis"] = int(data * REDIS_FACTOR)
        if host.is_in("postgresql"):
            connections = number(host.get("postgresql_max_connections")) * POSTGRESQL_CONNECTION
            found["postgresql"] = size(host.get("postgresql_shared_buffers")) + connections
    return found
