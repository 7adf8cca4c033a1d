"""What hosts tell playbooks/status.yml, and what it makes of that."""

import json
from copy import deepcopy
from typing import Any

from repository import source_module

DAY = 86400


report_module = source_module("plugins/filter/status_report.py")
table_module = source_module("plugins/filter/status_table.py")


def program(name: str, **other: Any) -> dict[str, Any]:
    return {"name": name, "state": "RUNNING", "age": 3600, "wanted": True, "detail": ""} | other


def holder(node: str, **other: Any) -> dict[str, Any]:
    told = {"node": node, "machine": "boot-of-one" if node else "", "unacknowledged": 1, "seen": 5.0}
    return told | {"oldest_unacknowledged": 30.0, "oldest_due": 30.0, "task": "orders.pay"} | other


# What a healthy host of all groups tells. The figures of Redis are those of INFO.
LOOK: dict[str, Any] = {
    "release": "0f3a9c51be77",
    "generation": "aaaaaaaa",
    "supervisor": "",
    "programs": [
        program("shop-beat"),
        program("shop-flower"),
        program("shop-web.aaaaaaaa"),
        program("shop-worker-default.aaaaaaaa"),
    ],
    "pools": {"default.aaaaaaaa": ["default"]},
    "limits": {"default.aaaaaaaa": {"time_limit": 1800, "prefetch_multiplier": 1}},
    "web": "",
    "edge": None,
    "certificate": {"days": 60.0},
    "beat": {"age": 120.0},
    "member": "",
    "timers": [{"name": "sessions", "waits": True, "result": "success", "age": 60.0}],
    "disks": [{"path": "/", "total": 100 * 1000**3, "free": 50 * 1000**3}],
    "application": {
        "settings": {
            "value": {
                "visibility_timeout": 3600,
                "default_time_limit": None,
                "default_prefetch_multiplier": 4,
                "longest_task_time_limit": 90,
                "beat_scheduler": "celery.beat:PersistentScheduler",
                "beat_max_loop_interval": 300,
            }
        },
        "database": {"value": None},
        "cache": {"value": None},
        "broker": {
            "value": {
                "identity": ["7c68b5884997ab27", "1", ""],
                "used_memory": 10 * 1000**2,
                "mem_not_counted_for_evict": 0,
                "maxmemory": 100 * 1000**2,
                "maxmemory_policy": "noeviction",
                "aof_enabled": 1,
                "aof_last_write_status": "ok",
                "aof_last_bgrewrite_status": "ok",
                "loading": 0,
            }
        },
        "queues": {
            "value": {
                "unacknowledged": 1,
                "dead_letters": 0,
                "longest_call_time_limit": 0,
                "holders": [
                    holder(
                        "", unacknowledged=0, oldest_unacknowledged=None, oldest_due=None, task="", seen=None
                    ),
                    holder("default.aaaaaaaa@one"),
                ],
                "queues": [
                    {
                        "name": "default",
                        "waiting": 3,
                        "oldest_waiting": 12.0,
                        "unacknowledged": 1,
                        "oldest_unacknowledged": 30.0,
                    }
                ],
            }
        },
        "workers": {
            "value": {
                "nodes": {"default.aaaaaaaa@one": ["default"]},
                "expected": ["default.aaaaaaaa@one"],
            }
        },
        "results": {"value": None},
    },
}
GROUPS = ["redis", "postgresql", "web", "workers", "beat", "flower"]


def change(path: str, value: Any, look: dict[str, Any] = LOOK) -> dict[str, Any]:
    """Return a host that tells something else in one place: keys and indices with dots between."""
    changed = deepcopy(look)
    *parents, last = path.split("/")
    place: Any = changed
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return changed


def item(look: dict[str, Any], host: str = "one", app: str = "shop", groups: Any = None) -> dict[str, Any]:
    """Return what the play hands over for a host."""
    return {"host": host, "app": app, "groups": groups or GROUPS, "look": {"stdout": json.dumps(look)}}


def judge(*items: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = report_module.status_report(list(items))
    return found


BROKER, QUEUES = "application/broker/value", "application/queues/value"
QUEUE = f"{QUEUES}/queues/0"
HOLDERS = f"{QUEUES}/holders"
HOLDER = f"{HOLDERS}/1"
SETTINGS = "application/settings/value"
MEGABYTE = 1000**2
