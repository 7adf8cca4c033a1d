"""Workers and beat: who consumes which queue, how children are replaced, what a stop does to a task."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from testinfra.host import Host

from generations import live, pids, wait_until_drained
from stack import APP, PROJECT, Stack, ansible, wait_for

QUEUES = ["critical", "default", "low-priority"]
# A pool that comes and goes: one child, so that whoever runs a task is the child that ran the one before,
# or its replacement.
TRIAL = {
    "name": "trial",
    "queues": ["trial"],
    "concurrency": 1,
    "max_tasks_per_child": 3,
    "max_memory_per_child": 200000,
    "drain": 2,
    "stopwaitsecs": 60,
}
# Sends a task that sleeps, or waits for the one of the given id; prints its id once a worker runs it.
RUNNING = """
import socket, time
from shop.celery import app

queue, task, seconds = (arguments[name] for name in ("queue", "task", "seconds"))
task = task or app.send_task("diagnostics.tasks.sleep", [seconds], queue=queue).id
worker = app.control.inspect([f"{queue}.{arguments['generation']}@{socket.gethostname()}"], timeout=1)
deadline = time.monotonic() + 30
while task not in {active["id"] for tasks in (worker.active() or {}).values() for active in tasks}:
    assert time.monotonic() < deadline, "the task does not start"
print(json.dumps(task))
"""


def start_sleeping(stack: Stack, queue: str, seconds: float) -> str:
    """Send a task that sleeps; return its id once a worker runs it."""
    arguments = {"queue": queue, "seconds": seconds, "task": None, "generation": live(stack)}
    return str(stack.python(RUNNING, arguments))


def node(stack: Stack, pool: str) -> str:
    """Return the name of the worker of a pool in the live generation."""
    return f"{pool}.{live(stack)}@{stack.host.check_output('hostname')}"


def state(stack: Stack, task: str) -> str:
    """Return the state of a task."""
    code = "from shop.celery import app\nprint(json.dumps(app.AsyncResult(arguments['task']).state))"
    return str(stack.python(code, {"task": task}))


def in_turn(stack: Stack, queue: str, *calls: tuple[str, list[Any]]) -> list[Any]:
    """Run diagnostic tasks one after another; return their results."""
    code = (
        "from shop.celery import app\n"
        "results = []\n"
        "for name, args in arguments['calls']:\n"
        "    sent = app.send_task('diagnostics.tasks.' + name, args, queue=arguments['queue'])\n"
        "    results.append(sent.get(timeout=30))\n"
        "print(json.dumps(results))"
    )
    found: list[Any] = stack.python(code, {"queue": queue, "calls": calls})
    return found


def stop(host: Host, program: str) -> float:
    """Stop a program as an operator does; return the seconds it took."""
    begun = time.monotonic()
    host.check_output(f"supervisorctl stop {program}")
    return time.monotonic() - begun


def test_every_queue_that_the_application_declares_is_consumed(stack: Stack) -> None:
    declared = "from shop.celery import app\nprint(json.dumps(sorted(app.amqp.queues)))"
    assert stack.python(declared) == sorted(QUEUES)
    for queue in QUEUES:
        assert stack.send("diagnostics.tasks.whoami", queue=queue)["hostname"] == node(stack, queue)


def test_a_task_without_a_route_is_consumed(stack: Stack) -> None:
    code = (
        "from shop.celery import app\n"
        "print(json.dumps(app.send_task('diagnostics.tasks.whoami').get(timeout=30)))"
    )
    assert stack.python(code)["hostname"] == node(stack, "default")


def test_the_workers_run_with_their_limits(stack: Stack) -> None:
    code = "from shop.celery import app\nprint(json.dumps(app.control.inspect(timeout=3).stats()))"
    stats = stack.python(code)
    for name in QUEUES:
        worker = stats[node(stack, name)]
        pool = worker["pool"]
        assert (pool["max-concurrency"], pool["max-tasks-per-child"]) == (2, 1000)
        assert pool["timeouts"] == [1500, 1800]
        assert worker["prefetch_count"] == 2


def test_a_child_that_took_too_much_memory_is_replaced(host: Host, stack: Stack) -> None:
    (result,) = in_turn(stack, "default", ("allocate", [300]))
    wait_for(lambda: host.run(f"kill -0 {result}").rc != 0, 10, "the child that took 300 MiB ended")


def test_one_beat_runs_and_its_tasks_are_done(host: Host, stack: Stack) -> None:
    assert host.check_output(f"pgrep --count --full 'celery -A {APP} [b]eat'") == "1"
    code = (
        "from shop.celery import app\nstats = app.control.inspect(timeout=1).stats() or {}\n"
        "print(json.dumps(sum(w['total'].get('dispatch.tasks.sweep', 0) for w in stats.values())))"
    )
    wait_for(lambda: stack.python(code), 25, "beat's sweep has run")


def test_a_task_that_runs_when_its_worker_is_stopped_finishes(host: Host, stack: Stack) -> None:
    task = start_sleeping(stack, "low-priority", 4)
    program = f"{APP}-worker-low-priority.{live(stack)}"
    try:
        seconds = stop(host, program)
        assert state(stack, task) == "SUCCESS"
        assert seconds < 60, "the worker waited after its task had finished"
    finally:
        host.check_output(f"supervisorctl start {program}")


@pytest.fixture(scope="session")
def trial(inventory: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """Add the trial pool to the inventory's on all hosts; yield the hosts that do not have it any more."""
    pools = yaml.safe_load((PROJECT / "roles/celery/defaults/main.yml").read_text())["celery_worker_pools"]
    extra = tmp_path_factory.mktemp("pools") / "pools.json"
    extra.write_text(json.dumps({"celery_worker_pools": [*pools, TRIAL]}))
    run = ansible("--tags=app", f"--extra-vars=@{extra}", inventory=inventory, check=False)
    removed: set[str] = set()
    try:
        assert run.returncode == 0, run.stdout
        yield removed
    finally:
        if run.stdout.count(": ok=") != len(removed):
            ansible("--tags=app", inventory=inventory)


def test_an_added_pool_replaces_its_child_after_so_many_tasks(stack: Stack, trial: set[str]) -> None:
    results = in_turn(stack, "trial", *[("whoami", [])] * 7)
    assert {result["hostname"] for result in results} == {node(stack, "trial")}
    children = [result["pid"] for result in results]
    # The first child may have run a task before.
    runs = [children.count(child) for child in dict.fromkeys(children)]
    assert max(runs) == 3, children
    assert runs[1] == 3, children


def test_a_task_longer_than_the_drain_is_put_back_and_runs_again(
    host: Host, stack: Stack, trial: set[str]
) -> None:
    task = start_sleeping(stack, "trial", 600)
    program = f"{APP}-worker-trial.{live(stack)}"
    waiting = (
        "messages = server.lrange('trial', 0, -1)\n"
        "print(json.dumps([json.loads(message)['headers']['id'] for message in messages]))"
    )
    try:
        assert 2 <= stop(host, program) < 60, "stopped by Supervisor's SIGKILL"
        assert task in stack.redis(waiting)
    finally:
        host.check_output(f"supervisorctl start {program}")
    # At once, not after the visibility timeout; nobody needs the rest of its sleep.
    stack.python(
        RUNNING + "app.control.revoke(task, terminate=True)",
        {"queue": "trial", "seconds": 0, "task": task, "generation": live(stack)},
    )
    wait_for(lambda: state(stack, task) == "REVOKED", 20, "the task that ran again is ended")


def test_a_removed_pool_is_gone_and_beat_is_left_alone(
    host: Host, stack: Stack, inventory: str, trial: set[str]
) -> None:
    name = host.backend.get_hostname()
    generation, before = live(stack), pids(stack)
    assert f"{APP}-worker-trial.{generation}" in before
    run = ansible("--tags=app", f"--limit={name}", inventory=inventory, check=False)
    assert run.returncode == 0, run.stdout
    trial.add(name)
    assert live(stack) != generation
    wait_until_drained(stack)
    after = pids(stack)
    assert {program for program in after if "worker" in program} == {
        f"{APP}-worker-{queue}.{live(stack)}" for queue in QUEUES
    }
    # The workers are another generation; what there is one of has changed in nothing.
    assert {program: pid for program, pid in after.items() if "." not in program} == {
        program: pid for program, pid in before.items() if "." not in program
    }
    assert host.run("pgrep --full hostname=[t]rial").rc == 1
