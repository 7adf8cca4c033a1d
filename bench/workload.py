"""What a deployed server does with tasks, beside other configurations of Celery on the same server.

Usage: workload.py [ROUNDS]     (3; `make bench BENCH=workload` calls it)

The others are Celery's defaults and what articles recommend (bench/reference_settings.py, and the options of
their workers below), each with the sample app, its virtual environment, two processes and its own Redis.
Rootstock's is the pool `default` as site.yml makes it, and some that are made otherwise (LAYOUTS). Nobody
listens to events: there is no Flower. Of the pools only those that are measured run.

Each round measures no-op tasks and tasks that wait 20 ms, whose results are kept where there is a place for
them, with a queue that is full when the workers start, without the first and the last tenth; seconds from the
start to the first task, and from the signal to the end of a worker that is idle. Once each: commands that an
idle Redis is sent; how long the web takes to accept orders, which it sends to workers.

Writes bench/results/workload.md and .json. Exit status 1 when a limit is not kept.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import testinfra

from common import listed, machine, play, said, table, write
from plot import bars
from servers import GROUPS, WHAT, servers
from stack import Stack, wait_for

OURS, IGNORED, AHEAD, TWO, WAITING = (
    "Rootstock",
    "Rootstock, results ignored",
    "Rootstock, prefetch 8",
    "Rootstock, two pools of 1",
    "Rootstock, 16 processes",
)
DEFAULTS, ARTICLE = "Celery's defaults", "articles'"
NO_OP, IO, START, DRAIN = "no-op tasks/s", "20 ms tasks/s", "start, s", "drain, s"
IO_SECONDS = 0.02
# As they are by default.
PLAIN = ("critical", "default", "low-priority")
POOLS: list[dict[str, Any]] = [
    *({"name": name, "queues": [name]} for name in PLAIN),
    {"name": "ahead", "queues": ["default"], "prefetch_multiplier": 8},
    {"name": "first", "queues": ["default"], "concurrency": 1},
    {"name": "second", "queues": ["default"], "concurrency": 1},
    {"name": "waiting", "queues": ["default"], "concurrency": 16},
]
# Which pools work on the queue `default` together.
LAYOUTS = {
    OURS: ["default"],
    IGNORED: ["default"],
    AHEAD: ["ahead"],
    TWO: ["first", "second"],
    WAITING: ["waiting"],
}
# What is measured of whom: how many tasks, how long each waits.
WORK = {
    NO_OP: (dict.fromkeys((OURS, IGNORED, AHEAD, TWO, DEFAULTS, ARTICLE), 9000), 0.0),
    IO: ({OURS: 600, WAITING: 3000, DEFAULTS: 600, ARTICLE: 600}, IO_SECONDS),
}
IDLE_SECONDS = 60
# Of each client; the first ones make connections and do not count.
CLIENTS, ORDERS, FIRST_ORDERS = 4, 450, 50

LEAST_NO_OP, LEAST_IO, MOST_P99 = 1.4, 4.0, 3.0

FILES = "/opt/bench"
REDIS_PORT = 6391
ENV = "/usr/local/lib/rootstock/with-env /etc/shop/app.env --"
OPTIONS = {
    DEFAULTS: "--concurrency 2",
    ARTICLE: "--loglevel=INFO -c 2 --max-tasks-per-child=1000 --max-memory-per-child=200000",
}


@dataclass(frozen=True)
class Server:
    """The server, with ways to run programs of the application on it."""

    name: str

    def run(self, command: str) -> str:
        """What a command prints, as root. Raises RuntimeError when it fails."""
        return said("docker", "exec", self.name, "sh", "-c", command).stdout.strip()

    def command(self, kind: str, program: str) -> str:
        """A command that runs a program of the environment as the application's user with its settings."""
        more = f"env {self._reference(kind)}" if kind in OPTIONS else ""
        return (
            f"cd /srv/shop/current && exec runuser -u shop -- env HOME=/srv/shop/shared "
            f"ROOTSTOCK_PURPOSE=WORKER PYTHONPATH={FILES} {ENV} {more} .venv/bin/{program}"
        )

    def _reference(self, kind: str) -> str:
        return (
            f"DJANGO_SETTINGS_MODULE=reference_settings "
            f"BENCH_REDIS=redis://127.0.0.1:{REDIS_PORT}/0 BENCH_ARTICLE={'yes' if kind == ARTICLE else ''}"
        )

    def pool(self, name: str) -> tuple[str, str]:
        """The commands that start and stop the worker of one of Rootstock's pools."""
        program = f"shop-worker-{name}.{self.run('cat /srv/shop/generation')}"
        return f"supervisorctl start {program}", f"supervisorctl stop {program}"

    def reference(self, kind: str, queue: str) -> tuple[str, str]:
        """The commands that start and stop a worker of another configuration."""
        worker = f"celery -A shop worker -n {queue}@%h --queues={queue} {OPTIONS[kind]}"
        unit = f"bench-{queue}"
        # Into a file, as Supervisor does it.
        log = f"-p StandardOutput=append:{FILES}/{queue}.log -p StandardError=inherit"
        transient = f"systemd-run --quiet --collect --unit {unit} -p KillMode=mixed {log}"
        return f"{transient} sh -c '{self.command(kind, worker)}'", f"systemctl stop {unit}"

    def workers(self, kind: str) -> list[tuple[str, str]]:
        """The commands that start and stop each worker that works on the queue `default`."""
        return [self.reference(kind, "default")] if kind in OPTIONS else list(map(self.pool, LAYOUTS[kind]))

    def redis(self, kind: str, command: str) -> str:
        """What a command to its Redis, as the one who may do all, answers."""
        if kind in OPTIONS:
            return self.run(f"redis-cli -p {REDIS_PORT} {command}")
        admin = '. /etc/redis/rootstock.env && REDISCLI_AUTH="$REDIS_ADMIN_PASSWORD"'
        return self.run(f"{admin} redis-cli --user admin {command}")

    def commands(self, kind: str) -> int:
        """How many commands its Redis has had."""
        return int(self.redis(kind, "INFO stats | sed -n 's/^total_commands_processed://p' | tr -d '\\r'"))

    def all_done(self, kind: str) -> bool:
        """Whether no worker holds a message: kombu keeps an index of those, gone with the last one."""
        return not self.redis(kind, "--scan --pattern '*unacked_index*'")


def work(server: Server, kind: str, count: int, seconds: float) -> dict[str, float]:
    """Tasks a second, and the seconds of start and drain, of workers that are started for it."""
    workers = server.workers(kind)
    ignored = "ignored" if kind == IGNORED else ""
    load = server.command(kind, f"python -m load default {count} {seconds} {ignored}")
    with subprocess.Popen(
        ["docker", "exec", server.name, "sh", "-c", load], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout  # noqa: S101 - asked for with PIPE, 2026-11-27
        if process.stdout.readline() != "full\n":
            raise RuntimeError(f"{kind}: the queue could not be filled")
        begun = time.monotonic()
        server.run(" & ".join(start for start, _ in workers) + " & wait")
        first, tenth, most, _ = (float(process.stdout.readline()) for _ in range(4))
    wait_for(partial(server.all_done, kind), 60, f"the workers of {kind} have done all tasks")
    ended = time.monotonic()
    server.run(" & ".join(stop for _, stop in workers) + " & wait")
    return {
        "rate": round(0.8 * count / (most - tenth), 1),
        START: round(first - begun, 2),
        DRAIN: round(time.monotonic() - ended, 2),
    }


def idle(server: Server, kind: str) -> dict[str, float]:
    """Commands a second to both Redis, while Rootstock's three pools and as many other workers run."""
    workers = [server.reference(kind, queue) for queue in PLAIN]
    for start, _ in workers:
        server.run(start)
    time.sleep(10)
    before = {each: server.commands(each) for each in (OURS, kind)}
    time.sleep(IDLE_SECONDS)
    found = {each: round((server.commands(each) - count) / IDLE_SECONDS, 1) for each, count in before.items()}
    for _, stop in workers:
        server.run(stop)
    return found


def orders(stack: Stack) -> list[float]:
    """Seconds that each order has taken that counts, of several clients that order without a pause."""
    body = {"product": "mug", "email": "visitor@example.com", "payment_token": "tok_visa", "count": 1}

    def client(_: int) -> list[float]:
        session, seconds = stack.session(), []
        for _ in range(ORDERS):
            begun = time.monotonic()
            session.post(stack.url("/api/orders"), json=body, timeout=30).raise_for_status()
            seconds.append(time.monotonic() - begun)
        return seconds[FIRST_ORDERS:]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [seconds for found in pool.map(client, range(CLIENTS)) for seconds in found]


@contextmanager
def deployed(directory: Path) -> Iterator[Server]:
    """A server that site.yml has made, with a second Redis and our files."""
    with servers(directory / "one", [[group for group in GROUPS if group != "flower"]]) as found:
        play("playbooks/site.yml", found.ssh, {"celery_worker_pools": POOLS})
        server = Server(*found.names)
        server.run(f"mkdir {FILES}")
        for file in ("load.py", "reference_settings.py"):
            said("docker", "cp", f"bench/{file}", f"{server.name}:{FILES}/")
        server.run(f"redis-server --port {REDIS_PORT} --bind 127.0.0.1 --dir {FILES} --daemonize yes")
        yield server


def measure(rounds: int, directory: Path) -> dict[str, Any]:
    """All figures."""
    with deployed(directory) as server:
        found: dict[str, dict[str, list[float]]] = {}

        def note(name: str, kind: str, value: float) -> None:
            found.setdefault(name, {}).setdefault(kind, []).append(value)
            print(f"{name}: {kind}: {value:g}", flush=True)

        pools = {pool["name"]: server.pool(pool["name"]) for pool in POOLS}
        for _, stop in pools.values():
            server.run(stop)
        for number in range(rounds):
            for name, (counts, seconds) in WORK.items():
                turn = number % len(counts)
                for kind in list(counts)[turn:] + list(counts)[:turn]:
                    run = work(server, kind, counts[kind], seconds)
                    note(name, kind, run["rate"])
                    if name == NO_OP and kind in (OURS, DEFAULTS, ARTICLE):
                        note(START, kind, run[START])
                        note(DRAIN, kind, run[DRAIN])
        for pool in PLAIN:
            server.run(pools[pool][0])
        asked = {kind: idle(server, kind) for kind in OPTIONS}
        took = orders(Stack(testinfra.get_host(f"docker://{server.name}"), directory))
    cuts = quantiles(took, n=100)
    latency = {"p50": round(1000 * cuts[49], 1), "p99": round(1000 * cuts[98], 1)}
    return {"measured": found, "redis_commands_per_second": asked, "order_ms": latency}


def times(values: Mapping[str, list[float]], ours: str, other: str) -> float:
    """How many times the other's figure ours is: the median of the rounds."""
    return round(median(mine / theirs for mine, theirs in zip(values[ours], values[other], strict=True)), 2)


def limits(result: Mapping[str, Any]) -> dict[str, bool]:
    """Each limit in words, and whether it is kept."""
    measured, latency = result["measured"], result["order_ms"]
    no_op, waiting = times(measured[NO_OP], OURS, ARTICLE), times(measured[IO], WAITING, ARTICLE)
    tail = round(latency["p99"] / latency["p50"], 1)
    asked = result["redis_commands_per_second"][ARTICLE]
    return {
        f"no-op tasks: {no_op:g} x {ARTICLE} (at least {LEAST_NO_OP:g})": no_op >= LEAST_NO_OP,
        f"tasks that wait, 16 processes: {waiting:g} x {ARTICLE} (at least {LEAST_IO:g})": (
            waiting >= LEAST_IO
        ),
        f"an order: p99 is {tail:g} x p50 (at most {MOST_P99:g})": tail <= MOST_P99,
        f"commands to an idle Redis: {asked[OURS]:g}/s, {ARTICLE} {asked[ARTICLE]:g}/s (at most as many)": (
            asked[OURS] <= asked[ARTICLE]
        ),
    }


def report(result: Mapping[str, Any]) -> list[str]:
    """The result in Markdown."""
    rows = [
        [name, kind, listed(values), round(median(values), 2), times(kinds, kind, ARTICLE)]
        for name, kinds in result["measured"].items()
        for kind, values in kinds.items()
    ]
    latency = result["order_ms"]
    return [
        "Workers of two processes where nothing else is said, all with hiredis. Nobody listens to events.",
        "",
        *table(["Figure", "Configuration", "Each round", "Median", f"{ARTICLE} = 1"], *rows),
        "",
        f"Orders through the web, of {CLIENTS} clients without a pause, {ORDERS} each of which the first "
        f"{FIRST_ORDERS} do not count: p50 {latency['p50']} ms, p99 {latency['p99']} ms.",
        "",
        *table(
            [
                "Commands a second to an idle Redis, three workers",
                "Rootstock, with beat and web",
                "The other",
            ],
            *(
                [kind, asked[OURS], asked[kind]]
                for kind, asked in result["redis_commands_per_second"].items()
            ),
        ),
        "",
        "Limits:",
        "",
        *(f"- {words}: {'kept' if kept else '**not kept**'}" for words, kept in limits(result).items()),
    ]


def main() -> int:
    """Exit status: 0 when the limits are kept."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        result = {"machine": machine(WHAT)} | measure(rounds, Path(name))
    picture = bars(
        "/s",
        {
            f"{name}: {kind}": median(values)
            for name in WORK
            for kind, values in result["measured"][name].items()
        },
    )
    write("workload", "Work of a deployed server", [rounds], result, report(result), picture)
    return int(not all(limits(result).values()))


if __name__ == "__main__":
    sys.exit(main())
