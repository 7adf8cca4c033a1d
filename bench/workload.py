"""What a deployed server does with tasks, beside other configurations of Celery on the same server.

Usage: workload.py [ROUNDS]     (3; `make bench BENCH=workload` calls it)

The others are Celery's defaults and what articles recommend (bench/reference_settings.py, and the options of
its worker below), each with the sample app, as many processes as Rootstock's pool, and a Redis of its own.
Rootstock's is the pool `default` as site.yml makes it. Nobody listens to events: there is no Flower. Of the
pools only the one that is measured runs.

Each round measures, of each: no-op tasks and tasks that wait 20 ms, with a queue that is full when the worker
starts, without the first and the last tenth; seconds from the start to the first task, and from the signal to
the end of a worker that is idle. Later rounds measure tasks that wait with a pool made for them. Once each:
commands that an idle Redis is sent; how long the web takes to accept orders, which it sends to workers.

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
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import testinfra

from common import listed, machine, play, said, table, write
from plot import bars
from servers import GROUPS, WHAT, Servers, servers
from stack import Stack

OURS, DEFAULTS, ARTICLE = "Rootstock", "Celery's defaults", "articles'"
NO_OP, IO, START, DRAIN = "no-op tasks/s", "20 ms tasks/s", "start, s", "drain, s"
MADE_FOR_IO = "20 ms tasks/s, pool of 16"
IO_SECONDS = 0.02
# Each consumes the queue of its name.
POOLS = ("critical", "default", "low-priority")
IO_POOLS = [{"name": name, "queues": [name], "concurrency": 16 if name == "default" else 2} for name in POOLS]
IDLE_SECONDS = 60
CLIENTS, ORDERS = 4, 600

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
        more = "" if kind == OURS else f"env {self._reference(kind)}"
        return (
            f"cd /srv/shop/current && exec runuser -u shop -- env HOME=/srv/shop/shared "
            f"ROOTSTOCK_PURPOSE=WORKER PYTHONPATH={FILES} {ENV} {more} .venv/bin/{program}"
        )

    def _reference(self, kind: str) -> str:
        return (
            f"DJANGO_SETTINGS_MODULE=reference_settings "
            f"BENCH_REDIS=redis://127.0.0.1:{REDIS_PORT}/0 BENCH_ARTICLE={'yes' if kind == ARTICLE else ''}"
        )

    def worker(self, kind: str, queue: str = "default") -> tuple[str, str]:
        """The commands that start and stop a worker of a queue."""
        if kind == OURS:
            program = f"shop-worker-{queue}.{self.run('cat /srv/shop/generation')}"
            return f"supervisorctl start {program}", f"supervisorctl stop {program}"
        worker = f"celery -A shop worker -n {queue}@%h --queues={queue} {OPTIONS[kind]}"
        unit = f"bench-{queue}"
        # Into a file, as Supervisor does it.
        log = f"-p StandardOutput=append:{FILES}/{queue}.log -p StandardError=inherit"
        transient = f"systemd-run --quiet --collect --unit {unit} -p KillMode=mixed {log}"
        return f"{transient} sh -c '{self.command(kind, worker)}'", f"systemctl stop {unit}"

    def commands(self, kind: str) -> int:
        """How many commands its Redis has had."""
        ask = f"redis-cli -p {REDIS_PORT} INFO stats"
        if kind == OURS:
            admin = '. /etc/redis/rootstock.env && REDISCLI_AUTH="$REDIS_ADMIN_PASSWORD"'
            ask = f"{admin} redis-cli --user admin INFO stats"
        return int(self.run(f"{ask} | sed -n 's/^total_commands_processed://p' | tr -d '\\r'"))


def work(server: Server, kind: str, count: int, seconds: float) -> dict[str, float]:
    """Tasks a second, and the seconds of start and drain, of a worker that is started for it."""
    start, stop = server.worker(kind)
    load = server.command(kind, f"python -m load default {count} {seconds}")
    with subprocess.Popen(
        ["docker", "exec", server.name, "sh", "-c", load], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout  # noqa: S101 - asked for with PIPE, 2026-11-27
        if process.stdout.readline() != "full\n":
            raise RuntimeError(f"{kind}: the queue could not be filled")
        begun = time.monotonic()
        server.run(start)
        first, tenth, most = (float(process.stdout.readline()) for _ in range(3))
    # What is left is done by then: less than a tenth, in as much time as nine took.
    time.sleep((most - tenth) / 4 + 1)
    ended = time.monotonic()
    server.run(stop)
    return {
        "rate": round(0.8 * count / (most - tenth), 1),
        START: round(first - begun, 2),
        DRAIN: round(time.monotonic() - ended, 2),
    }


def idle(server: Server, kind: str) -> dict[str, float]:
    """Commands a second to both Redis, while Rootstock's three pools and as many other workers run."""
    workers = [server.worker(kind, queue) for queue in POOLS]
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
    """Seconds that each order has taken, of several clients that order without a pause."""
    body = {"product": "mug", "email": "visitor@example.com", "payment_token": "tok_visa", "count": 1}

    def client(_: int) -> list[float]:
        session, seconds = stack.session(), []
        for _ in range(ORDERS // CLIENTS):
            begun = time.monotonic()
            session.post(stack.url("/api/orders"), json=body, timeout=30).raise_for_status()
            seconds.append(time.monotonic() - begun)
        return seconds

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [seconds for found in pool.map(client, range(CLIENTS)) for seconds in found]


@contextmanager
def deployed(directory: Path) -> Iterator[tuple[Server, Servers]]:
    """A server that site.yml has made, with a second Redis and our files."""
    with servers(directory / "one", [[group for group in GROUPS if group != "flower"]]) as found:
        play("playbooks/site.yml", found.ssh)
        server = Server(*found.names)
        server.run(f"mkdir {FILES}")
        for file in ("load.py", "reference_settings.py"):
            said("docker", "cp", f"bench/{file}", f"{server.name}:{FILES}/")
        server.run(f"redis-server --port {REDIS_PORT} --bind 127.0.0.1 --dir {FILES} --daemonize yes")
        yield server, found


def measure(rounds: int, directory: Path) -> dict[str, Any]:
    """All figures."""
    with deployed(directory) as (server, inventory):
        found: dict[str, dict[str, list[float]]] = {}

        def note(name: str, kind: str, value: float) -> None:
            found.setdefault(name, {}).setdefault(kind, []).append(value)
            print(f"{name}: {kind}: {value:g}", flush=True)

        kinds = [OURS, DEFAULTS, ARTICLE]
        workers = [server.worker(OURS, pool) for pool in POOLS]
        for _, stop in workers:
            server.run(stop)
        for number in range(rounds):
            for kind in kinds[number % 3 :] + kinds[: number % 3]:
                run = work(server, kind, 6000, 0)
                note(NO_OP, kind, run["rate"])
                note(START, kind, run[START])
                note(DRAIN, kind, run[DRAIN])
                note(IO, kind, work(server, kind, 600, IO_SECONDS)["rate"])
        for start, _ in workers:
            server.run(start)
        asked = {kind: idle(server, kind) for kind in (DEFAULTS, ARTICLE)}
        stack = Stack(testinfra.get_host(f"docker://{server.name}"), directory)
        seconds = orders(stack)
        play("playbooks/deploy.yml", inventory.ssh, {"celery_worker_pools": IO_POOLS})
        inventory.wait_until_drained()
        for pool in POOLS:
            server.run(server.worker(OURS, pool)[1])
        for _ in range(rounds):
            note(MADE_FOR_IO, OURS, work(server, OURS, 3000, IO_SECONDS)["rate"])
            note(MADE_FOR_IO, ARTICLE, work(server, ARTICLE, 600, IO_SECONDS)["rate"])
    cuts = quantiles(seconds, n=100)
    latency = {"p50": round(1000 * cuts[49], 1), "p99": round(1000 * cuts[98], 1)}
    return {"measured": found, "redis_commands_per_second": asked, "order_ms": latency}


def times(values: Mapping[str, list[float]], other: str) -> float:
    """How many times the other's figure Rootstock's is: the median of the rounds."""
    return round(median(ours / theirs for ours, theirs in zip(values[OURS], values[other], strict=True)), 2)


def limits(result: Mapping[str, Any]) -> dict[str, bool]:
    """Each limit in words, and whether it is kept."""
    measured, latency = result["measured"], result["order_ms"]
    no_op, waiting = times(measured[NO_OP], ARTICLE), times(measured[MADE_FOR_IO], ARTICLE)
    tail = round(latency["p99"] / latency["p50"], 1)
    asked = result["redis_commands_per_second"][ARTICLE]
    return {
        f"no-op tasks: {no_op:g} x {ARTICLE} (at least {LEAST_NO_OP:g})": no_op >= LEAST_NO_OP,
        f"tasks that wait, pool made for them: {waiting:g} x {ARTICLE} (at least {LEAST_IO:g})": (
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
        [name, kind, listed(values), round(median(values), 2), "" if kind == OURS else times(kinds, kind)]
        for name, kinds in result["measured"].items()
        for kind, values in kinds.items()
    ]
    latency = result["order_ms"]
    return [
        "One worker of two processes at a time, 16 in the pool made for waiting. Nobody listens to events.",
        "",
        *table(["Figure", "Configuration", "Each round", "Median", "Rootstock's, of it"], *rows),
        "",
        f"{ORDERS} orders through the web, of {CLIENTS} clients without a pause: p50 {latency['p50']} ms, "
        f"p99 {latency['p99']} ms.",
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
            for name in (NO_OP, IO, MADE_FOR_IO)
            for kind, values in result["measured"][name].items()
        },
    )
    write("workload", "Work of a deployed server", [rounds], result, report(result), picture)
    return int(not all(limits(result).values()))


if __name__ == "__main__":
    sys.exit(main())
