"""What `redis_appendfsync` costs: publishes a second and their latency, with everysec and with always.

Usage: appendfsync.py DIRECTORY [ROUNDS] [TASKS]    (scripts/test_app.sh --bench calls it where Celery is)

In each round both settings take turns on a new Redis: one publisher sends TASKS tasks one after another, then
PUBLISHERS of them do so at the same time. Beside it, what the disk takes for one fdatasync. Nobody consumes.
Writes appendfsync.md and appendfsync.json. There is no limit: what a disk takes is its own.
"""

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from worker import app, nothing, redis_server

SETTINGS = ("everysec", "always")
PUBLISHERS = 4
#: As many bytes as a small message has in the append-only file.
RECORD = bytes(1024)
SYNCS = 1000


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return {f"p{share}_ms": round(1000 * ordered[len(ordered) * share // 100], 2) for share in (50, 99)}


def disk(directory: Path) -> dict[str, float]:
    """What one fdatasync takes after an append."""
    taken = []
    with (directory / "sync").open("ab", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(RECORD)
            begun = time.monotonic()
            os.fdatasync(file.fileno())
            taken.append(time.monotonic() - begun)
    return percentiles(taken)


def publish(url: str, tasks: int) -> tuple[float, float, list[float]]:
    """When the first publish began, when the last one ended, and what each took."""
    app.conf.broker_url = url
    taken = []
    with app.connection_for_write() as connection:
        # The first one connects.
        nothing.apply_async(connection=connection)
        first = time.monotonic()
        for _ in range(tasks):
            begun = time.monotonic()
            nothing.apply_async(connection=connection)
            taken.append(time.monotonic() - begun)
        return first, time.monotonic(), taken


def measure(setting: str, publishers: int, tasks: int) -> dict[str, float]:
    """Publishes a second, and the latency of one, of so many publishers."""
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name), setting) as broker:
        url = f"redis://127.0.0.1:{broker.connection_pool.connection_kwargs['port']}/1"
        # A new interpreter for each: none has another one's connection.
        with get_context("spawn").Pool(publishers) as pool:
            parts = pool.starmap(publish, [(url, tasks)] * publishers)
    begun, ended = min(part[0] for part in parts), max(part[1] for part in parts)
    latency = percentiles([seconds for part in parts for seconds in part[2]])
    return {"publishes_per_second": round(publishers * tasks / (ended - begun)), **latency}


def best(found: Sequence[dict[str, float]], figure: str) -> dict[str, float]:
    """The round with the best figure: other work on the machine makes none better."""
    ordered = sorted(found, key=lambda each: each[figure])
    return ordered[0] if figure.endswith("_ms") else ordered[-1]


def report(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        "# What redis_appendfsync costs",
        "",
        f"{result['date']}, {result['cores']} cores, load average {result['load']:g}, "
        f"Python {result['python']}.",
        f"Each publisher sends {result['tasks']} small tasks. The fastest of {result['rounds']} rounds.",
        f"One fdatasync on this disk, after an append of {len(RECORD)} bytes: "
        f"p50 {result['disk']['p50_ms']:g} ms, p99 {result['disk']['p99_ms']:g} ms.",
        "Another disk has other figures. Repeat: `make bench BENCH=appendfsync`.",
        "",
        "| redis_appendfsync | Publishers | Publishes/s | Latency p50 | Latency p99 |",
        "|---|---|---|---|---|",
    ]
    for line in result["measured"]:
        lines.append(
            f"| {line['appendfsync']} | {line['publishers']} | {line['publishes_per_second']:g} | "
            f"{line['p50_ms']:g} ms | {line['p99_ms']:g} ms |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    target = Path(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    tasks = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    disks = []
    load = round(os.getloadavg()[0], 1)
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            disks.append(disk(Path(name)))
        for setting in SETTINGS if number % 2 else reversed(SETTINGS):
            for publishers in (1, PUBLISHERS):
                figures = measure(setting, publishers, tasks)
                found.setdefault((setting, publishers), []).append(figures)
                print(f"round {number + 1}: {setting}, {publishers} publishers: {figures}", flush=True)
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": load,
        "rounds": rounds,
        "tasks": tasks,
        "disk": best(disks, "p50_ms"),
        "measured": [
            {
                "appendfsync": setting,
                "publishers": publishers,
                **best(found[setting, publishers], "publishes_per_second"),
            }
            for setting in SETTINGS
            for publishers in (1, PUBLISHERS)
        ],
    }
    target.mkdir(exist_ok=True)
    (target / "appendfsync.json").write_text(json.dumps(result, indent=2) + "\n")
    (target / "appendfsync.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
