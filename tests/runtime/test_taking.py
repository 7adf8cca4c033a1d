"""At every moment a message is in its queue or with a worker: a killed worker, a cut connection lose none."""

import json
import os
import signal
import time

import pytest

from conftest import Broker, Stage, Worker, wait_for
from cutting_proxy import CuttingProxy


def given_while_stopped(stage: Stage, worker: Worker) -> None:
    """Stop an idle worker while it waits for Redis' answer, and publish a task."""
    stage.send("record", "key", queue="two")
    find = stage.broker.client_list
    wait_for(lambda: any("b" in one["flags"] for one in find()), 10, "it waits")
    os.killpg(worker.process.pid, signal.SIGSTOP)
    # At once: the wait without the package ends after a second.
    stage.broker.rpoplpush("two", "one")


def kept(stage: Stage) -> int:
    """Messages that Redis has, wherever."""
    return int(stage.broker.llen("one")) + stage.held()


def test_a_worker_that_is_killed_while_it_waits_loses_nothing(stage: Stage) -> None:
    worker = stage.worker()
    given_while_stopped(stage, worker)
    worker.kill()
    assert kept(stage) == 1
    stage.worker()
    wait_for(lambda: stage.done("key"), 15, "it is run")
    assert stage.begun("key") == 1


def test_without_the_package_it_loses_what_it_was_given(stage: Stage) -> None:
    """The control."""
    worker = stage.worker(hardened=False)
    given_while_stopped(stage, worker)
    worker.kill()
    assert kept(stage) == 0


@pytest.mark.parametrize("hardened", [True, False])
def test_answers_that_never_arrive_lose_nothing(stage: Stage, server: Broker, hardened: bool) -> None:
    """A message is on its way from Redis when its connection breaks; without the package it is lost."""
    keys = [f"key{number}" for number in range(100)]
    with CuttingProxy(server.port, b"victim.record", every=20) as proxy:
        broker = server.url("plain-worker", proxy.port)
        stage.worker(concurrency=2, hardened=hardened, VICTIM_BROKER=broker)
        stage.python(f"from victim import record\nfor key in {keys!r}: record.delay(key)")
        wait_for(lambda: kept(stage) == 0, 60, "nothing is left")
    assert proxy.cuts >= 5
    lost = [key for key in keys if not stage.done(key)]
    assert len(lost) == (0 if hardened else proxy.cuts)


def test_what_is_done_is_acknowledged_although_the_connection_breaks(stage: Stage, server: Broker) -> None:
    """The script that would have done it does not reach Redis. No other task is under way then."""
    keys = [f"key{number}" for number in range(100)]
    with CuttingProxy(server.port, b"EVAL", every=20, answers=False) as proxy:
        stage.worker(VICTIM_BROKER=server.url("plain-worker", proxy.port))
        stage.python(f"from victim import record\nfor key in {keys!r}: record.delay(key)")
        wait_for(lambda: kept(stage) == 0, 60, "nothing is left")
    assert proxy.cuts >= 5
    assert {key: stage.begun(key) for key in keys} == dict.fromkeys(keys, 1)


def test_what_is_done_is_acknowledged_while_the_worker_waits_for_another(stage: Stage) -> None:
    """No script comes then, nor does anything else acknowledge in that time."""
    stage.worker(concurrency=2, VICTIM_RESTORE_INTERVAL="60")
    stage.send("record", "key", 0.5)
    wait_for(lambda: stage.done("key"), 15, "it is done")
    wait_for(lambda: stage.held() == 0, 3, "it is acknowledged")


@pytest.mark.parametrize("step", ["on_accepted", "ack"])
@pytest.mark.parametrize("countdown", [None, 1])
def test_what_is_done_is_acknowledged_before_a_drain_ends(
    stage: Stage, step: str, countdown: float | None
) -> None:
    """A long task keeps the worker for as long as it takes; SIGTERM comes while a short one is under way."""
    worker = stage.worker(concurrency=2, VICTIM_ENDS_AFTER=step, ROOTSTOCK_DRAIN_SECONDS="60")
    stage.send("record", "long", 8)
    wait_for(lambda: stage.begun("long"), 15, "the long one runs")
    stage.send("record", "short", countdown=countdown)
    worker.says("Warm shutdown")
    wait_for(lambda: stage.held() == 1, 4, "only the long one is held")
    assert (stage.done("short"), stage.done("long")) == (1, 0)
    worker.process.wait(20)
    assert (kept(stage), stage.begun("short"), stage.done("long")) == (0, 1, 1)


def test_what_redis_answered_and_nobody_read_is_given_back(stage: Stage) -> None:
    """As when the end of a cut connection reaches Redis after the worker is back on another one."""
    worker = stage.worker()
    holder = next(name.decode() for name in stage.broker.smembers("rootstock.holders"))
    stage.send("record", "key", countdown=600)
    wait_for(lambda: stage.held() == 1, 15, "it is held")
    tag, held = next(iter(stage.broker.hgetall(f"unacked.{holder}").items()))
    message, exchange, key = json.loads(held)
    # A second message, of which the worker has never heard.
    message["properties"]["delivery_tag"] = "unheard"
    message["headers"]["eta"] = None
    message["headers"]["id"] = "unheard"
    stage.broker.hset(f"unacked.{holder}", "unheard", json.dumps([message, exchange, key]))
    stage.broker.zadd(f"unacked_index.{holder}", {"unheard": time.time()})
    worker.says("1 messages that the lost connection had brought are back", 25)
    wait_for(lambda: stage.done("key") == 1, 15, "it is run")
    wait_for(lambda: stage.broker.hkeys(f"unacked.{holder}") == [tag], 5, "only what it knows is held")
    assert worker.process.poll() is None


def test_a_worker_of_two_queues_takes_from_both_and_from_priorities(stage: Stage) -> None:
    stage.worker(queues="one,two")
    for queue, priority in (("two", 0), ("one", 0), ("two", 9), ("one", 3)):
        key = f"{queue}{priority}"
        stage.send("record", key, queue=queue, priority=priority)
        wait_for(lambda key=key: stage.done(key), 6, f"{key} is run")  # type: ignore[misc]
    assert stage.held() == 0


def test_a_message_without_acknowledgement_is_not_held(stage: Stage) -> None:
    stage.worker()
    code = (
        "from rootstock_worker import broker; broker.install();"
        "from victim import app;"
        "from rootstock_worker.holders import Holder; broker.State.holder = Holder.this('c@test');"
        "import socket\n"
        "from kombu import Queue, Consumer\n"
        "with app.connection_for_read() as c:\n"
        "  found = []\n"
        "  with Consumer(c, [Queue('three', routing_key='three')], no_ack=True,"
        " callbacks=[lambda body, m: found.append(body)]):\n"
        "    app.send_task('victim.record', ['x'], queue='three')\n"
        "    while not found: c.drain_events(timeout=5)\n"
        "  print(len(found))"
    )
    assert stage.python(code, VICTIM_BROKER=stage.server.url("plain-worker")) == "1"
    assert kept(stage) == 0


def commands_of_an_idle_worker(stage: Stage, hardened: bool) -> dict[str, int]:
    """What Redis was asked in twelve seconds; the victim looks for dead workers each second."""
    worker = stage.worker(hardened=hardened)
    time.sleep(2)
    client = stage.server.client(0)
    client.config_resetstat()
    time.sleep(12)
    asked = client.info("commandstats").items()
    worker.stop()
    return {
        name.removeprefix("cmdstat_"): one["calls"]
        for name, one in asked
        if not name.startswith("cmdstat_config")
    }


def test_an_idle_worker_asks_redis_less_than_without_the_package(stage: Stage) -> None:
    hardened = commands_of_an_idle_worker(stage, hardened=True)
    plain = commands_of_an_idle_worker(stage, hardened=False)
    # A wait of four seconds and a look, where kombu waits for one second.
    assert 2 <= hardened["blmove"] <= 4, hardened
    assert sum(hardened.values()) < 0.9 * sum(plain.values()), (hardened, plain)


def seconds_to_end(stage: Stage, hardened: bool) -> float:
    """Of an idle worker that has just begun to wait."""
    worker = stage.worker(hardened=hardened)
    waiting = "blmove" if hardened else "brpop"
    clients = stage.broker.client_list
    wait_for(lambda: any(one["cmd"] == waiting and one["idle"] == "0" for one in clients()), 10, "it waits")
    begun = time.monotonic()
    worker.stop()
    return time.monotonic() - begun


def test_an_idle_worker_ends_without_waiting_for_redis(stage: Stage) -> None:
    # kombu stays for the answer, which is one second. Here it would be four.
    assert seconds_to_end(stage, hardened=True) < seconds_to_end(stage, hardened=False) + 1
    assert kept(stage) == 0
