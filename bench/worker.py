"""What the package that hardens workers costs: no-op tasks a second with it, of those without it.

Usage: worker.py DIRECTORY [PAIRS] [TASKS]    (scripts/test_app.sh --bench calls it where Celery is)

Each pair runs the same worker twice on a queue that is already full, with the package and without it, in an
order that changes from pair to pair. The first and the last tenth do not count: the worker starts, or has
less to do than it could. Writes worker.md and worker.json. Exit status 1 when the limit is not kept.
"""

# Celery has no types.
# mypy: disable-error-code="untyped-decorator"

import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

#: Of the tasks a second without the package.
LEAST_SHARE = 0.95
QUEUE = "bench"
_BROKER = "BENCH_BROKER"

# As role celery sets a worker up; the workers import this module too.
app = Celery("worker", broker=os.environ.get(_BROKER, ""))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": 3600,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5.0,
    },
)


@app.task
def nothing() -> None:
    """What is left is the cost of everything around a task."""


@contextmanager
def redis_server(directory: Path, appendfsync: str = "everysec") -> "Iterator[Redis[bytes]]":
    """A Redis as role redis sets it up."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("worker.py: no redis-server here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    options = f"--port {port} --bind 127.0.0.1 --appendonly yes --appendfsync {appendfsync} --save"
    process = subprocess.Popen([program, *options.split(), "", "--dir", directory], stdout=subprocess.DEVNULL)
    client: Redis[bytes] = Redis(port=port, db=1)
    try:
        while True:
            try:
                client.ping()
                break
            except NoConnection:
                if process.poll() is not None:
                    raise SystemExit("worker.py: redis-server does not start") from None
                time.sleep(0.05)
        yield client
    finally:
        process.terminate()
        process.wait()


def run(broker: "Redis[bytes]", tasks: int, hardened: bool, directory: Path) -> dict[str, float]:
    """Tasks a second, and milliseconds of the processor for each task, of one worker."""
    broker.flushdb()
    with app.connection_for_write() as connection:
        for _ in range(tasks):
            nothing.apply_async(connection=connection)
    environment = os.environ | {
        "ROOTSTOCK_DRAIN_SECONDS": "20",
        "ROOTSTOCK_RETIRE_SECONDS": "60",
        "ROOTSTOCK_GENERATION": "bench",
        "ROOTSTOCK_LIVE_GENERATION_FILE": str(directory / "generation"),
        "ROOTSTOCK_QUEUES": QUEUE,
        "ROOTSTOCK_HEARTBEAT_FILE": str(directory / "heartbeat"),
    }
    command = ["celery", "-A", "worker", "worker", "--queues", QUEUE, "--concurrency", "2", "-O", "fair"]
    command += ["--without-mingle", "--without-gossip", "--loglevel", "WARNING"]
    command += ["--include", "rootstock_worker.install"] if hardened else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    times = []
    for left in (0.9 * tasks, 0.1 * tasks, 0):
        while broker.llen(QUEUE) > left:
            if process.poll() is not None:
                raise SystemExit(f"worker.py: the worker has ended ({process.returncode})")
            time.sleep(0.01)
        times.append(time.monotonic())
    process.terminate()
    process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "tasks_per_second": round(0.8 * tasks / (times[1] - times[0]), 1),
        "processor_ms_per_task": round(1000 * processor / tasks, 3),
    }


def report(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        "# What the hardened worker costs",
        "",
        f"{result['date']}, {result['cores']} cores, Python {result['python']}. {result['tasks']} no-op "
        "tasks a run, a worker of two processes, late acknowledgement.",
        "Only the ratios can be compared with other machines. Repeat: `make bench`.",
        "",
        "| Pair | Tasks/s with the package | Without | Ratio | Processor time a task, ratio |",
        "|---|---|---|---|---|",
    ]
    for number, pair in enumerate(result["pairs"], 1):
        speeds = " | ".join(f"{pair[kind]['tasks_per_second']:.0f}" for kind in ("with", "without"))
        lines.append(f"| {number} | {speeds} | {pair['speed']:.3f} | {pair['processor']:.3f} |")
    medians = result["medians"]
    lines += [
        f"| Median | | | {medians['speed']:.3f} | {medians['processor']:.3f} |",
        "",
        f"Limit: at least {LEAST_SHARE:.0%} of the tasks a second.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Exit status: 0 when the limit is kept."""
    target = Path(sys.argv[1])
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    tasks = int(sys.argv[3]) if len(sys.argv) > 3 else 6000
    pairs = []
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as broker:
        port = broker.connection_pool.connection_kwargs["port"]
        os.environ[_BROKER] = app.conf.broker_url = f"redis://127.0.0.1:{port}/1"
        for order in range(number):
            kinds = [True, False] if order % 2 else [False, True]
            runs = {hardened: run(broker, tasks, hardened, Path(name)) for hardened in kinds}
            pair: dict[str, Any] = {"with": runs[True], "without": runs[False]}
            pair["speed"] = pair["with"]["tasks_per_second"] / pair["without"]["tasks_per_second"]
            pair["processor"] = (
                pair["with"]["processor_ms_per_task"] / pair["without"]["processor_ms_per_task"]
            )
            pairs.append(pair)
            print(f"pair {order + 1}: {pair['speed']:.3f} of the tasks a second", flush=True)
    medians = {key: statistics.median(pair[key] for pair in pairs) for key in ("speed", "processor")}
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "tasks": tasks,
        "pairs": pairs,
        "medians": medians,
    }
    target.mkdir(exist_ok=True)
    (target / "worker.json").write_text(json.dumps(result, indent=2) + "\n")
    (target / "worker.md").write_text(report(result))
    print(report(result))
    return int(medians["speed"] < LEAST_SHARE)


if __name__ == "__main__":
    sys.exit(main())
