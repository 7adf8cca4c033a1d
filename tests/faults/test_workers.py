"""Rows 1, 2, 18, 22, 38, 39 and 40: what becomes of tasks when who runs them ends, or must not."""

import base64
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from injection import (
    REDIS,
    WITHOUT_RUNTIME,
    child_pids,
    kill,
    main_pid,
    program_pid,
    program_settings,
    started,
    worker,
)
from stack import APP, Stack, wait_for
from traffic import Effect, LongTask, effects, start_long_task
from trial import IN_FLIGHT, Trial

POOL = "default"
runtime_off = pytest.mark.control("worker without rootstock_worker")


def begun_again(trial: Trial, task: LongTask, since: float, at_most: float, give_up: float) -> None:
    """Waits for the end of a task that was cut short, and notes when it had begun for the last time."""
    found: list[Effect] = []

    def done() -> bool:
        found[:] = effects(trial.stack, task.key)
        return bool(found)

    trial.within(
        "its task begun again",
        at_most,
        since,
        done,
        give_up=give_up,
        at=lambda: max(effect.started.timestamp() for effect in found),
    )


def process_of(stack: Stack, task: LongTask) -> int:
    """The child that runs a task."""
    code = (
        "from shop.celery import app\n"
        "active = app.control.inspect([arguments['node']], timeout=2).active()[arguments['node']]\n"
        "print(next(t['worker_pid'] for t in active if arguments['key'] in str(t['args'])))"
    )
    return int(stack.python(code, {"node": task.node, "key": task.key}))


# --- 1 and 2: a child, or all of it


def child_killed(trial: Trial) -> None:
    stack = trial.stack
    with trial.traffic() as flow:
        task = start_long_task(stack, POOL, seconds=6)
        begun = time.time()
        kill(stack, process_of(stack, task))
        begun_again(trial, task, begun, 10, give_up=40)
        flow.flows_again(begun, 10)
        flow.account(in_flight=1)


@pytest.mark.row("1")
def test_a_child_of_a_worker_killed(trial: Trial) -> None:
    child_killed(trial)


@pytest.mark.row("1")
@runtime_off
def test_a_child_of_a_worker_killed_without_the_runtime(trial: Trial) -> None:
    with program_settings(trial.stack, [worker(trial.stack, POOL)], WITHOUT_RUNTIME):
        child_killed(trial)


def worker_killed(trial: Trial) -> None:
    stack, program = trial.stack, worker(trial.stack, POOL)
    with trial.traffic() as flow:
        task = start_long_task(stack, POOL, seconds=6)
        before = program_pid(stack, program)
        begun = time.time()
        kill(stack, before, *child_pids(stack, before))
        trial.within(
            "back",
            15,
            begun,
            lambda: program_pid(stack, program) not in (0, before),
            at=lambda: started(stack, program_pid(stack, program)),
        )
        begun_again(trial, task, begun, 30, give_up=60)
        flow.flows_again(begun, 30, backlog=True)
        flow.account(in_flight=IN_FLIGHT[POOL])


@pytest.mark.row("2")
def test_a_whole_worker_killed(trial: Trial) -> None:
    worker_killed(trial)


@pytest.mark.row("2")
@runtime_off
def test_a_whole_worker_killed_without_the_runtime(trial: Trial) -> None:
    with program_settings(trial.stack, [worker(trial.stack, POOL)], WITHOUT_RUNTIME):
        worker_killed(trial)


# --- 18: memory


def memory_eaten(trial: Trial) -> None:
    stack, mebibytes = trial.stack, 400
    redis, main = main_pid(stack, REDIS), program_pid(stack, worker(stack, POOL))
    with trial.traffic() as flow:
        child = stack.send("diagnostics.tasks.allocate", mebibytes, queue=POOL)
        begun = time.time()
        trial.within("the child is replaced", 10, begun, lambda: stack.host.run(f"kill -0 {child}").rc != 0)
        wait_for(lambda: len(child_pids(stack, main)) == IN_FLIGHT[POOL], 20, "as many children as before")
        flow.flows_again(begun, 10)
        flow.account()
    trial.measure("Redis or the worker ended", int(main_pid(stack, REDIS) != redis), at_most=0)
    assert program_pid(stack, worker(stack, POOL)) == main


@pytest.mark.row("18")
def test_a_task_that_eats_memory(trial: Trial) -> None:
    memory_eaten(trial)


@pytest.mark.row("18")
@pytest.mark.control("no --max-memory-per-child")
def test_a_task_that_eats_memory_without_a_limit(trial: Trial) -> None:
    with program_settings(trial.stack, [worker(trial.stack, POOL)], "s/ --max-memory-per-child=[0-9]+//"):
        memory_eaten(trial)


# --- 22: a stop that does not wait

DRAIN = 3


def stopped_while_it_runs(trial: Trial) -> None:
    stack, program = trial.stack, worker(trial.stack, POOL)
    with trial.traffic() as flow:
        task = start_long_task(stack, POOL, seconds=20)
        begun = time.time()
        stack.host.check_output(f"supervisorctl stop {program}")
        trial.measure("stopped", time.time() - begun, "s", at_most=DRAIN + 10)
        started = time.time()
        stack.host.check_output(f"supervisorctl start {program}")
        begun_again(trial, task, started, 10, give_up=45)
        flow.account(in_flight=0)
    trial.measure("ended more than once", len(effects(stack, task.key)) - 1, at_most=0)


@pytest.mark.row("22")
def test_a_stop_while_a_task_runs_longer_than_the_drain(trial: Trial) -> None:
    setting = f's/ROOTSTOCK_DRAIN_SECONDS="[0-9]+"/ROOTSTOCK_DRAIN_SECONDS="{DRAIN}"/'
    with program_settings(trial.stack, [worker(trial.stack, POOL)], setting):
        stopped_while_it_runs(trial)


@pytest.mark.row("22")
@pytest.mark.control("stopwaitsecs=3 and no drain timer")
def test_a_stop_while_a_task_runs_that_ends_with_a_kill(trial: Trial) -> None:
    setting = f"{WITHOUT_RUNTIME}; s/^stopwaitsecs=.*/stopwaitsecs={DRAIN}/"
    with program_settings(trial.stack, [worker(trial.stack, POOL)], setting):
        stopped_while_it_runs(trial)


# --- 38, 39 and 40: what must not be run, cannot be run, or ends who runs it

LETTERS = f"{APP}-dead-letters"
#: Where a worker may write: it has a /tmp of its own.
PLANTED = f"/srv/{APP}/shared/faults-executed"

# A message of a task that exists; what is evil is how its content is to be read.
_INSECURE = """
import os
from kombu import Queue
from kombu.serialization import enable_insecure_serializers, register
from shop.celery import app

class Evil:
    def __reduce__(self):
        return os.system, ("touch " + arguments["planted"],)

enable_insecure_serializers()
register("yaml", lambda _: "!!python/object/apply:os.system ['touch " + arguments["planted"] + "']",
         lambda _: None, content_type="application/x-yaml", content_encoding="utf-8")
headers = {"lang": "py", "task": "diagnostics.tasks.record", "id": "evil", "root_id": "evil",
           "parent_id": None, "argsrepr": "()", "kwargsrepr": "{}"}
with app.connection_for_write() as broker:
    producer = broker.Producer()
    for serializer in ("pickle", "yaml"):
        producer.publish(((Evil(),), {}, {}), serializer=serializer, headers=headers, exchange="",
                         routing_key=arguments["queue"], declare=[Queue(arguments["queue"])])
print("null")
"""


def letters(stack: Stack) -> list[str]:
    """What was set aside: a line for each."""
    return str(stack.host.check_output(f"{LETTERS} list")).splitlines()


def drop_letters(stack: Stack) -> None:
    if letters(stack):
        stack.host.check_output(f"{LETTERS} drop all")


def insecure_messages(trial: Trial) -> None:
    stack, program = trial.stack, worker(trial.stack, POOL)
    drop_letters(stack)
    before = program_pid(stack, program)
    with trial.traffic() as flow:
        begun = time.time()
        stack.python(_INSECURE, {"planted": PLANTED, "queue": POOL})
        flow.flows_again(begun, 10)
        flow.account()
    trial.measure("executed", int(stack.host.file(PLANTED).exists), at_most=0)
    trial.measure("workers that ended", int(program_pid(stack, program) != before), at_most=0)
    trial.measure("set aside", len(letters(stack)))
    drop_letters(stack)


@pytest.mark.row("38")
def test_a_pickle_and_a_yaml_message(trial: Trial) -> None:
    insecure_messages(trial)


@contextmanager
def pickles_accepted(stack: Stack) -> Iterator[None]:
    """A worker of an application whose settings let pickles in."""
    (stanzas,) = stack.host.check_output(
        f"grep -lrF '[program:{worker(stack, POOL)}]' /etc/supervisor"
    ).split()
    package = stack.host.check_output(f"grep -m 1 -oh 'PYTHONPATH=\"[^\"]*' {stanzas}").split('"')[1]
    module = f"{package}/faults_accept.py"
    # By the name that settings of this application have: under Celery's own one it would have no effect.
    setting = "CELERY_ACCEPT_CONTENT=['json', 'pickle']"
    code = f"from celery import current_app\ncurrent_app.conf.update({setting})\n"
    stack.host.check_output("printf %s %s >%s && chmod 0644 %s", "%s", code, module, module)
    try:
        with program_settings(
            stack,
            [worker(stack, POOL)],
            "s/ -I rootstock_worker\\.install/ -I rootstock_worker.install,faults_accept/",
        ):
            yield
    finally:
        stack.host.check_output(f"rm -f {module} {PLANTED}")


@pytest.mark.row("38")
@pytest.mark.control("accept_content with pickle")
def test_a_pickle_and_a_yaml_message_where_pickles_are_accepted(trial: Trial) -> None:
    with pickles_accepted(trial.stack):
        insecure_messages(trial)


ENVELOPE = {
    "body": "W10=",
    "content-encoding": "utf-8",
    "content-type": "application/json",
    "headers": {"lang": "py", "task": "diagnostics.tasks.record", "id": "1"},
    "properties": {
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": POOL},
        "delivery_tag": "tag",
    },
}


def malformed(number: int) -> bytes:
    """One of ten ways not to be a message."""
    envelope = json.dumps(ENVELOPE)
    properties = json.dumps({**ENVELOPE, "properties": {"delivery_tag": str(number)}})
    return (
        b"not json at all",
        envelope[: 20 + number].encode(),
        b"\x80\x05\x95\x00\xff",
        b"[]",
        b"null",
        b"",
        json.dumps({**ENVELOPE, "properties": None}).encode(),
        properties.encode(),
        json.dumps({**ENVELOPE, "body": number}).encode(),
        json.dumps({**ENVELOPE, "headers": [number]}).encode(),
    )[number % 10]


def malformed_messages(trial: Trial) -> None:
    stack, count = trial.stack, 100
    code = (
        "import os, redis\nfrom base64 import b64decode\n"
        "server = redis.Redis.from_url(os.environ['CELERY_BROKER_URL'])\n"
        "for item in arguments['items']:\n"
        "    server.lpush(arguments['queue'], b64decode(item))\n"
        "print('null')"
    )
    items = [base64.b64encode(malformed(number)).decode() for number in range(count)]
    program, fatal = worker(stack, POOL), 0
    before = program_pid(stack, program)
    with trial.traffic() as flow:
        stack.python(code, {"queue": POOL, "items": items})
        begun = time.time()
        flow.flows_again(begun, 30, give_up=90)
        fatal = int(stack.programs()[program] == "FATAL")
        flow.account(in_flight=IN_FLIGHT[POOL])
    trial.measure("FATAL", fatal, at_most=0)
    trial.measure("workers that ended", int(program_pid(stack, program) != before))


@pytest.mark.row("39")
def test_malformed_messages(trial: Trial) -> None:
    drop_letters(trial.stack)
    malformed_messages(trial)
    trial.measure("not set aside", 100 - len(letters(trial.stack)), at_most=0)
    drop_letters(trial.stack)


@pytest.mark.row("39")
@pytest.mark.control("worker without rootstock_worker, startretries=3, startsecs=10")
def test_malformed_messages_without_the_runtime(trial: Trial) -> None:
    settings = f"{WITHOUT_RUNTIME}; s/^startretries=.*/startretries=3/; s/^startsecs=.*/startsecs=10/"
    with program_settings(trial.stack, [worker(trial.stack, POOL)], settings):
        malformed_messages(trial)


def deadly_task(trial: Trial, at_most: int) -> None:
    stack, key = trial.stack, f"deadly-{secrets.token_hex(4)}"
    with trial.traffic() as flow:
        begun = time.time()
        stack.send("diagnostics.tasks.end_process", key, queue=POOL, wait=None)
        wait_for(lambda: effects(stack, key), 20, "it has run")
        flow.flows_again(begun, 30)
        # It has had its time to run too often.
        trial.within(
            "set aside", 60, begun, lambda: any("end_process" in line for line in letters(stack)), give_up=60
        )
        flow.account(in_flight=at_most)
    trial.measure("deliveries", len(effects(stack, key)), at_most=at_most)


def deliveries(stack: Stack, program: str) -> int:
    """The limit with which a worker runs."""
    pid = program_pid(stack, program)
    environment = stack.host.check_output(f"runuser -u {APP} -- cat /proc/{pid}/environ").split("\0")
    return int(dict(line.split("=", 1) for line in environment if "=" in line)["ROOTSTOCK_MAX_DELIVERIES"])


@pytest.mark.row("40")
def test_a_task_that_always_ends_its_process(trial: Trial) -> None:
    stack = trial.stack
    drop_letters(stack)
    deadly_task(trial, deliveries(stack, worker(stack, POOL)))
    drop_letters(stack)


@pytest.mark.row("40")
@pytest.mark.control("no limit of deliveries (celery_max_deliveries 1000000)")
def test_a_task_that_always_ends_its_process_without_a_limit(trial: Trial) -> None:
    stack, program = trial.stack, worker(trial.stack, POOL)
    limit = deliveries(stack, program)
    setting = 's/ROOTSTOCK_MAX_DELIVERIES="[0-9]+"/ROOTSTOCK_MAX_DELIVERIES="1000000"/'
    with program_settings(stack, [program], setting):
        deadly_task(trial, limit)
