"""What a task leaves behind is published, or the task goes back: Redis is away or full in that moment."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from conftest import Broker, Stage, Worker, wait_for

RETRIES = ["retry_by_code", "autoretry", "replaced"]


def begin(stage: Stage, task: str, key: str, **options: object) -> None:
    """Publish a task that waits before it publishes something itself, and wait until it runs."""
    stage.send(task, key, **options)
    wait_for(lambda: stage.begun(key) == 1, 15, "it runs")


def go_on(stage: Stage, key: str) -> None:
    (stage.directory / f"effects.{key}").touch()


@contextmanager
def redis_away(server: Broker) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def redis_full(server: Broker) -> Iterator[None]:
    server.client(0).config_set("maxmemory", 1)
    try:
        yield
    finally:
        server.client(0).config_set("maxmemory", 0)


def settled(stage: Stage, key: str, times: int = 1) -> None:
    """It was done so often, and nothing is left."""
    wait_for(lambda: stage.done(key) >= times, 40, f"{key} is done")
    wait_for(lambda: stage.held() == 0 and not stage.broker.llen("one"), 15, "nothing is left")
    assert stage.done(key) == times


@pytest.mark.parametrize("task", RETRIES)
def test_a_retry_while_redis_is_away_is_not_lost(stage: Stage, server: Broker, task: str) -> None:
    worker = stage.worker()
    begin(stage, task, "key")
    with redis_away(server):
        go_on(stage, "key")
        time.sleep(5)
    settled(stage, "key")
    assert worker.process.poll() is None


@pytest.mark.parametrize("task", RETRIES)
def test_a_retry_into_a_full_redis_takes_the_place_of_its_task(
    stage: Stage, server: Broker, task: str
) -> None:
    worker = stage.worker()
    begin(stage, task, "key")
    with redis_full(server):
        go_on(stage, "key")
        settled(stage, "key")
    assert stage.begun("key") == (2 if task == "replaced" else 1)
    assert worker.process.poll() is None


def test_without_the_package_a_retry_is_lost(stage: Stage, server: Broker) -> None:
    """The control."""
    worker = stage.worker(hardened=False)
    begin(stage, "retry_by_code", "key")
    with redis_away(server):
        go_on(stage, "key")
        time.sleep(8)
    stage.send("record", "next")
    wait_for(lambda: stage.done("next"), 15, "the worker works again")
    wait_for(lambda: stage.held() == 0, 15, "nothing is left")
    assert worker.process.poll() is None
    assert stage.done("key") == 0


def test_a_retry_acknowledged_early_is_not_lost_while_redis_is_away(stage: Stage, server: Broker) -> None:
    stage.worker(VICTIM_PUBLISH_TRIES="1")
    begin(stage, "retry_acknowledged_early", "key")
    assert stage.held() == 0
    with redis_away(server):
        go_on(stage, "key")
        time.sleep(5)
    settled(stage, "key")


@pytest.mark.parametrize("task", ["retry_by_code", "replaced", "first_of_chain"])
def test_what_cannot_be_published_in_time_puts_the_task_back(stage: Stage, server: Broker, task: str) -> None:
    """As after an outage that is longer than a worker waits."""
    worker = stage.worker(VICTIM_PUBLISH_TRIES="1")
    if task == "first_of_chain":
        stage.python("from victim import *; (first_of_chain.si('key') | record.si('key')).delay()")
        wait_for(lambda: stage.begun("key") == 1, 15, "it runs")
    else:
        begin(stage, task, "key")
    with redis_away(server):
        go_on(stage, "key")
        time.sleep(8)
    settled(stage, "key")
    worker.says("is put back")
    assert worker.process.poll() is None


def test_a_retry_that_can_never_be_published_is_a_dead_letter(stage: Stage) -> None:
    stage.worker()
    stage.send("retry_by_code", "key", True)
    wait_for(lambda: stage.begun("key") == 1, 15, "it runs")
    go_on(stage, "key")
    wait_for(lambda: stage.broker.hlen("rootstock.dead_letters") == 1, 15, "it is kept")
    assert "its retry could not be published (EncodeError" in stage.letters("list")
    assert stage.held() == 0


def test_a_result_is_written_into_a_full_redis(stage: Stage, server: Broker) -> None:
    """The task's own message leaves it in the next moment."""
    stage.environment["VICTIM_RESULTS"] = server.url("plain-app")
    worker = stage.worker(VICTIM_RESULTS=server.url("plain-worker"))
    code = "from victim import app; print(app.send_task('victim.first_of_chain', ['key']).id)"
    task = stage.python(code)
    wait_for(lambda: stage.begun("key") == 1, 15, "it runs")
    with redis_full(server):
        go_on(stage, "key")
        wait_for(lambda: stage.broker.exists(f"celery-task-meta-{task}"), 15, "its result is there")
        wait_for(lambda: stage.held() == 0, 5, "it is acknowledged")
    assert stage.python(f"from victim import app; print(app.AsyncResult({task!r}).get(timeout=5))") == "key"
    assert worker.process.poll() is None


def test_a_success_is_not_overwritten_and_a_waiting_client_hears_of_it(stage: Stage, server: Broker) -> None:
    stage.environment["VICTIM_RESULTS"] = server.url("plain-app")
    stage.worker(VICTIM_RESULTS=server.url("plain-worker"))
    go_on(stage, "key")
    code = (
        "from victim import *\n"
        "result = first_of_chain.delay('key'); assert result.get(timeout=10) == 'key'\n"
        "print(result.id)"
    )
    task = stage.python(code)
    again = (
        "from rootstock_worker import results; results.install()\n"
        "from victim import app\n"
        f"app.backend.store_result({task!r}, 'other', 'FAILURE')\n"
        f"app.backend.store_result('unknown', 'other', 'STARTED')\n"
        f"print(app.AsyncResult({task!r}).state, app.AsyncResult('unknown').state)"
    )
    assert stage.python(again, VICTIM_RESULTS=server.url("plain-worker")) == "SUCCESS STARTED"


@pytest.mark.parametrize("away_or_full", [redis_away, redis_full])
def test_a_chord_is_completed(
    stage: Stage, server: Broker, away_or_full: Callable[[Broker], Iterator[None]]
) -> None:
    stage.environment["VICTIM_RESULTS"] = server.url("plain-app")
    stage.worker(concurrency=2, VICTIM_RESULTS=server.url("plain-worker"))
    stage.python("from victim import *; start_chord('key', 3)")
    wait_for(lambda: stage.begun("key") == 2, 15, "two run")
    with away_or_full(server):
        go_on(stage, "key")
        time.sleep(6)
    settled(stage, "key body")


def started_while_full(stage: Stage, server: Broker, *, hardened: bool) -> Worker:
    """A worker that starts while Redis is full, with a message that waits for it."""
    stage.send("record", "key")
    server.client(0).config_set("maxmemory", 1)
    return stage.worker(hardened=hardened)


def test_a_worker_starts_and_works_while_redis_is_full(stage: Stage, server: Broker) -> None:
    try:
        worker = started_while_full(stage, server, hardened=True)
        wait_for(lambda: stage.done("key"), 15, "it works")
        wait_for(lambda: stage.held() == 0, 5, "it is acknowledged")
        # Longer than all that it does from time to time.
        time.sleep(12)
        assert worker.process.poll() is None
        worker.stop()
        assert worker.process.returncode == 0
    finally:
        server.client(0).config_set("maxmemory", 0)
    assert not re.findall(r"ERROR/|CRITICAL/|Traceback", worker.log.read_text())


def test_without_the_package_no_worker_starts_while_redis_is_full(stage: Stage, server: Broker) -> None:
    """The control."""
    try:
        with pytest.raises(AssertionError, match=r"OutOfMemoryError|OOM"):
            started_while_full(stage, server, hardened=False)
    finally:
        server.client(0).config_set("maxmemory", 0)


def test_a_redis_that_refuses_to_write_ends_no_worker(stage: Stage, server: Broker) -> None:
    """As with a full disk, or a primary without its replicas; the connections are lost meanwhile."""
    worker = stage.worker(concurrency=2)
    begin(stage, "first_of_chain", "key")
    server.client(0).config_set("min-replicas-to-write", 1)
    try:
        go_on(stage, "key")
        worker.says("Redis refuses to write")
        server.client(0).client_kill_filter(_type="normal", skipme=True)
        worker.says("cannot be given back now")
    finally:
        server.client(0).config_set("min-replicas-to-write", 0)
    stage.send("record", "next")
    settled(stage, "next")
    assert (worker.process.poll(), stage.begun("key")) == (None, 1)


def test_a_task_with_an_eta_that_is_taken_from_a_full_redis_is_not_lost(stage: Stage, server: Broker) -> None:
    worker = stage.worker(concurrency=2)
    os.kill(worker.process.pid, 19)
    keys = [f"later {number}" for number in range(4)]
    for key in keys:
        stage.send("record", key, countdown=8)
    with redis_full(server):
        os.kill(worker.process.pid, 18)
        wait_for(lambda: stage.held() == 4, 15, "all are held")
        assert worker.process.poll() is None
        worker.kill()
        stage.worker("a", concurrency=2)
        wait_for(lambda: all(stage.done(key) for key in keys), 30, "all are done")
    wait_for(lambda: stage.held() == 0, 10, "all are acknowledged")
    assert [stage.done(key) for key in keys] == [1, 1, 1, 1]


def test_a_task_that_waits_for_its_eta_is_no_poison(stage: Stage) -> None:
    """Its worker is killed more often than a message is delivered, and it has never begun."""
    stage.send("record", "later", countdown=40)
    for _ in range(2):
        worker = stage.worker(ROOTSTOCK_MAX_DELIVERIES="2")
        wait_for(lambda: stage.held() == 1, 15, "it is held")
        worker.kill()
    stage.worker(ROOTSTOCK_MAX_DELIVERIES="2")
    wait_for(lambda: stage.done("later"), 50, "it is done")
    assert stage.broker.hlen("rootstock.dead_letters") == 0
