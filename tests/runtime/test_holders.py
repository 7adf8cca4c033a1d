"""What a dead worker held goes back at once; what a live one holds does not, however long it takes."""

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from conftest import Broker, Stage, wait_for
from rootstock_worker.holders import Holder
from rootstock_worker.taking import TAKE


@pytest.mark.parametrize("namespace", ["", "CELERY"])
def test_what_a_killed_worker_held_runs_again_when_it_is_back(stage: Stage, namespace: str) -> None:
    worker = stage.worker(VICTIM_NAMESPACE=namespace)
    stage.send("record", "held", 30)
    wait_for(lambda: stage.begun("held") == 1, 15, "it runs")
    worker.kill()
    assert stage.held() == 1
    begun = time.monotonic()
    stage.worker(VICTIM_NAMESPACE=namespace)
    wait_for(lambda: stage.begun("held") == 2, 10, "it runs again")
    assert time.monotonic() - begun < 15
    assert stage.held() == 1


def test_without_the_package_it_waits_for_the_visibility_timeout(stage: Stage) -> None:
    """The control: the test above would be of no worth if kombu did the same."""
    worker = stage.worker(hardened=False)
    stage.send("record", "held", 30)
    wait_for(lambda: stage.begun("held") == 1, 15, "it runs")
    worker.kill()
    stage.worker(hardened=False)
    stage.send("record", "other")
    wait_for(lambda: stage.done("other"), 15, "the worker works")
    time.sleep(5)
    assert stage.begun("held") == 1


def test_another_worker_of_the_host_gives_it_back(stage: Stage) -> None:
    """The program of a retired generation does not come back."""
    first = stage.worker("a")
    stage.send("record", "held", 30)
    wait_for(lambda: stage.begun("held") == 1, 15, "it runs")
    stage.worker("b")
    first.kill()
    wait_for(lambda: stage.begun("held") == 2, 10, "the other one runs it")


def test_what_a_live_worker_holds_is_not_delivered_again(stage: Stage) -> None:
    stage.worker("a")
    stage.send("record", "long", 12)
    wait_for(lambda: stage.begun("long") == 1, 15, "it runs")
    second = stage.worker("b")
    second.kill()
    stage.worker("b")
    wait_for(lambda: stage.done("long"), 20, "it is done")
    assert stage.begun("long") == 1
    wait_for(lambda: stage.held() == 0, 5, "it is acknowledged")


def move_holder(stage: Stage, change: Callable[[Holder], Holder]) -> Holder:
    """Have what the one holder of now holds be another one's."""
    (name,) = stage.broker.smembers("rootstock.holders")
    before = Holder.parse(name.decode())
    after = change(before)
    for old, new in (
        (before.unacked_key, after.unacked_key),
        (before.unacked_index_key, after.unacked_index_key),
    ):
        if stage.broker.exists(old):
            stage.broker.rename(old, new)
    stage.broker.srem("rootstock.holders", name)
    stage.broker.sadd("rootstock.holders", str(after))
    stage.broker.zrem("rootstock.holders_seen", name)
    return after


def another_boot(holder: Holder) -> Holder:
    """The same server before it was started anew, and a worker of a generation that there is no more."""
    boot, rest = holder.machine.split(":", 1)
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return replace(holder, node=holder.node.replace("a@", "retired@"), machine=f"another-boot:{rest}")


def another_start_of_a_container(holder: Holder) -> Holder:
    """The same kernel and, by chance, the same name space of process ids."""
    boot, pid, space, _, server = holder.machine.split(":")
    machine = ":".join((boot, pid, space, "1", server))
    return replace(holder, node=holder.node.replace("a@", "retired@"), machine=machine)


def another_server(holder: Holder) -> Holder:
    *rest, _ = holder.machine.split(":")
    machine = ":".join((*rest, "0123456789abcdef"))
    return replace(holder, node=holder.node.replace("a@", "c@"), machine=machine.replace(rest[0], "boot"))


def a_copy_of_the_server(holder: Holder) -> Holder:
    """With the same id, because nobody has made a new one, and another host name."""
    return replace(another_boot(holder), node="c@copy")


@pytest.mark.parametrize("before", [another_boot, another_start_of_a_container])
def test_after_a_power_loss_all_that_the_server_held_goes_back(
    stage: Stage, before: Callable[[Holder], Holder]
) -> None:
    worker = stage.worker("a")
    stage.send("record", "held", 30)
    wait_for(lambda: stage.begun("held") == 1, 15, "it runs")
    worker.kill()
    holder = move_holder(stage, before)
    begun = time.monotonic()
    stage.worker("b")
    wait_for(lambda: stage.begun("held") == 2, 20, "it runs again")
    assert time.monotonic() - begun < 10
    assert str(holder).encode() not in stage.broker.smembers("rootstock.holders")


@pytest.mark.parametrize("elsewhere", [another_server, a_copy_of_the_server])
def test_of_another_server_it_waits_for_the_visibility_timeout(
    stage: Stage, elsewhere: Callable[[Holder], Holder]
) -> None:
    """Whether a process on another server lives cannot be told from here."""
    stage.environment["VICTIM_VISIBILITY_TIMEOUT"] = "8"
    worker = stage.worker("a")
    stage.send("record", "elsewhere", 30)
    wait_for(lambda: stage.begun("elsewhere") == 1, 15, "it runs")
    worker.kill()
    move_holder(stage, elsewhere)
    begun = time.monotonic()
    stage.worker("b")
    wait_for(lambda: stage.begun("elsewhere") == 2, 20, "it runs again")
    assert time.monotonic() - begun > 3


def test_a_holder_of_a_server_that_is_gone_is_forgotten(stage: Stage) -> None:
    """One that holds nothing, after an hour; one that was seen since, or never says that it lives, is not."""
    stage.environment["VICTIM_VISIBILITY_TIMEOUT"] = "8"
    now = float(stage.broker.time()[0])
    names = {"gone": now - 3700, "away": now - 3000, "unseen": None}
    for name, seen in names.items():
        stage.broker.sadd("rootstock.holders", f"{name}@elsewhere|boot:pid:[1]:1:server|1|1")
        if seen:
            stage.broker.zadd("rootstock.holders_seen", {f"{name}@elsewhere|boot:pid:[1]:1:server|1|1": seen})
    stage.worker("a")

    def nodes() -> set[str]:
        members = stage.broker.smembers("rootstock.holders")
        return {name.decode().partition("@")[0] for name in members}

    wait_for(lambda: nodes() == {"a", "away", "unseen"}, 10, "it is forgotten")
    seen = stage.broker.zrange("rootstock.holders_seen", 0, -1)
    assert {name.decode().partition("@")[0] for name in seen} == nodes() - {"unseen"}


def test_a_worker_says_that_it_lives(stage: Stage) -> None:
    stage.worker("a")
    (name,) = stage.broker.smembers("rootstock.holders")
    first = stage.broker.zscore("rootstock.holders_seen", name)
    assert abs(first - stage.broker.time()[0]) < 5
    wait_for(lambda: stage.broker.zscore("rootstock.holders_seen", name) > first, 25, "it says so again")


def test_a_worker_that_redis_does_not_know_registers_before_it_takes(stage: Stage) -> None:
    """Redis has come back without its last second."""
    stage.worker("a", VICTIM_RESTORE_INTERVAL="60")
    (name,) = stage.broker.smembers("rootstock.holders")
    stage.broker.srem("rootstock.holders", name)
    stage.send("record", "key", 3)
    wait_for(lambda: stage.begun("key"), 15, "it runs")
    assert stage.broker.smembers("rootstock.holders") == {name}
    assert stage.broker.hlen(f"unacked.{name.decode()}") == 1


def test_a_command_of_a_dead_worker_that_arrives_late_takes_nothing(stage: Stage, server: Broker) -> None:
    """Its connection was cut, it was killed, and all that it held went back, before the command is read."""
    worker = stage.worker("a")
    (name,) = stage.broker.smembers("rootstock.holders")
    worker.kill()
    stage.worker("b", queues="two")
    wait_for(lambda: name not in stage.broker.smembers("rootstock.holders"), 10, "it is forgotten")
    stage.send("record", "key")
    holder = Holder.parse(name.decode())
    keys = [holder.unacked_key, holder.unacked_index_key, "rootstock.holders", "one"]
    assert stage.broker.eval(TAKE, len(keys), *keys, name) == [b"", b"", b"unknown"]
    assert stage.broker.llen("one") == 1
    stage.worker("c")
    wait_for(lambda: stage.done("key") == 1, 15, "another worker does it")


@pytest.mark.parametrize("whole", [True, False], ids=["all processes", "the main process alone"])
def test_no_child_outlives_its_worker(stage: Stage, whole: bool) -> None:
    worker = stage.worker()
    stage.send("record", "orphan", 4)
    wait_for(lambda: stage.begun("orphan") == 1, 15, "it runs")
    worker.kill(whole)
    time.sleep(6)
    assert stage.done("orphan") == 0


def test_a_child_that_has_had_its_tasks_is_replaced_at_once(stage: Stage) -> None:
    """Celery itself mostly notices the end of a child when it looks, which is every five seconds."""
    stage.worker(VICTIM_TASKS_PER_CHILD="1")
    stage.python("from victim import record; [record.delay('short-lived') for _ in range(41)]")
    for number in range(1, 42):
        wait_for(lambda number=number: stage.done("short-lived") >= number, 2, f"{number} have run")


def test_what_a_task_consumes_by_itself_is_its_own(stage: Stage) -> None:
    """Its process does not know what the worker holds, and has no event loop, though the loop started it."""
    stage.worker(VICTIM_TASKS_PER_CHILD="1")
    stage.send("record", "never run", queue="two")
    stage.send("record", "first")
    stage.send("consume", "two")
    wait_for(lambda: stage.done("two") == 1, 15, "it has consumed")
    wait_for(lambda: stage.broker.hlen("unacked") == 0, 1, "its message is acknowledged")
    # The task that does it is held as long as it runs, and nobody gives it back.
    assert (stage.held(), stage.broker.llen("one"), stage.broker.llen("two")) == (1, 0, 0)


def test_what_was_not_begun_goes_back_when_a_worker_ends(stage: Stage) -> None:
    stage.environment["ROOTSTOCK_DRAIN_SECONDS"] = "1"
    worker = stage.worker(concurrency=1)
    stage.send("record", "slow", 20)
    wait_for(lambda: stage.begun("slow") == 1, 15, "it runs")
    worker.stop()
    assert stage.held() == 0
    assert stage.broker.llen("one") == 1
    # It is no poison: nobody died of it.
    assert b"rootstock_deliveries" not in stage.broker.lindex("one", 0)


def test_what_a_child_has_just_been_given_is_done_once_when_its_worker_ends(stage: Stage) -> None:
    """The child stands still between getting a task and saying so, while its worker is told to end."""
    worker = stage.worker(ROOTSTOCK_DRAIN_SECONDS="30")
    (child,) = worker.children()
    os.kill(child, signal.SIGSTOP)
    stage.send("record", "given")
    worker.says("received")
    worker.process.terminate()
    worker.says("Warm shutdown")
    # Time to forget what no child has confirmed, which nothing tells of.
    time.sleep(2)
    os.kill(child, signal.SIGCONT)
    worker.process.wait(20)
    assert stage.done("given") == 1
    stage.worker("b")
    stage.send("record", "next")
    wait_for(lambda: stage.done("next") and not stage.held(), 15, "the next worker has done all there is")
    assert stage.begun("given") == 1


def test_a_redis_that_was_killed_does_not_end_or_stall_a_worker(stage: Stage, server: Broker) -> None:
    worker = stage.worker(concurrency=2)
    stage.send("record", "meanwhile", 4)
    wait_for(lambda: stage.begun("meanwhile") == 1, 15, "it runs")
    server.kill()
    time.sleep(1)
    server.start()
    stage.send("record", "after")
    wait_for(lambda: stage.done("after"), 15, "it consumes again")
    wait_for(lambda: stage.done("meanwhile"), 15, "what ran ends")
    wait_for(lambda: stage.held() == 0, 10, "all is acknowledged")
    time.sleep(3)
    assert (stage.done("meanwhile"), stage.done("after")) == (1, 1)
    assert worker.process.poll() is None


def test_long_tasks_do_not_stall_a_worker_that_has_lost_redis(stage: Stage, server: Broker) -> None:
    stage.worker(concurrency=3)
    for key in ("long", "longer"):
        stage.send("record", key, 25)
        wait_for(lambda key=key: stage.begun(key) == 1, 15, "it runs")
    server.kill()
    server.start()
    keys = [f"after {number}" for number in range(4)]
    for key in keys:
        stage.send("record", key)
    wait_for(lambda: all(stage.done(key) for key in keys), 10, "the idle process does them")
    assert not stage.done("long")


def test_a_worker_looks_for_redis_as_often_in_a_long_outage_as_in_a_short_one(
    stage: Stage, server: Broker
) -> None:
    worker = stage.worker()
    server.kill()
    again = re.compile(r"Trying again in (\S+) seconds")

    def tries() -> list[str]:
        return again.findall(worker.log.read_text())

    wait_for(lambda: len(tries()) > 3, 30, "it has tried four times")
    assert set(tries()) == {"2.00"}
    server.start()
    stage.send("record", "after")
    wait_for(lambda: stage.done("after"), 15, "it consumes again")


def test_what_a_lost_connection_had_brought_comes_back(stage: Stage, server: Broker) -> None:
    """Celery forgets a task with an ETA when it loses its connection."""
    stage.worker(concurrency=2)
    stage.send("record", "running", 6)
    stage.send("record", "later", countdown=4)
    wait_for(lambda: stage.begun("running") == 1 and stage.held() == 2, 15, "it holds both")
    server.kill()
    server.start()
    wait_for(lambda: stage.done("later"), 20, "it is done in its time")
    wait_for(lambda: stage.done("running"), 15, "what ran ends")
    wait_for(lambda: stage.held() == 0, 10, "all is acknowledged")
    assert (stage.begun("running"), stage.begun("later")) == (1, 1)


def test_a_worker_that_has_lost_redis_has_its_whole_prefetch_again(stage: Stage, server: Broker) -> None:
    """Celery sets the count back while tasks with an ETA are ahead, and each takes one from it later."""
    stage.worker(concurrency=2)
    stage.send("record", "running", 5)
    wait_for(lambda: stage.begun("running") == 1, 15, "it runs")
    server.kill()
    server.start()
    keys = [f"later {number}" for number in range(3)]
    for key in keys:
        stage.send("record", key, countdown=8)
    wait_for(lambda: stage.held() == 4, 10, "all are held")
    wait_for(lambda: all(stage.done(key) for key in ("running", *keys)), 20, "all are done")
    stage.send("record", "long", 20)
    wait_for(lambda: stage.begun("long") == 1, 10, "it runs")
    stage.send("record", "short")
    wait_for(lambda: stage.done("short") == 1, 5, "the idle process does it")


def test_what_still_runs_after_redis_was_lost_counts_as_taken(stage: Stage, server: Broker) -> None:
    """A message that this worker has no process for is one that another worker could do now."""
    stage.worker(concurrency=2)
    for key in ("one", "two"):
        stage.send("record", key, 8)
        wait_for(lambda key=key: stage.begun(key) == 1, 15, "it runs")
    server.kill()
    server.start()
    wait_for(lambda: stage.broker.scard("rootstock.holders") == 1, 15, "the worker is back")
    stage.send("record", "third")
    stage.worker("b")
    wait_for(lambda: stage.done("third") == 1, 5, "the other worker does it")
    assert (stage.done("one"), stage.done("two")) == (0, 0)


def test_redis_starts_with_the_transactions_of_before(stage: Stage, server: Broker) -> None:
    """It replays its file as the default user, whom nobody can be: one without rights loses them (7.0.15)."""
    with stage.broker.pipeline(transaction=True) as pipe:
        pipe.lpush("two", "in a transaction").set("celery-task-meta-1", "likewise").execute()
    server.kill()
    server.start()
    assert (stage.broker.llen("two"), stage.broker.get("celery-task-meta-1")) == (1, b"likewise")
    with pytest.raises(RedisError, match=r"[Aa]uthenticat"):
        Redis(port=server.port).ping()


@pytest.mark.parametrize("user", ["plain-app", "plain-flower"])
def test_who_waits_for_answers_may_give_back_what_was_held(stage: Stage, user: str) -> None:
    """Celery does it in whatever listens, every hundred seconds: web processes and Flower as well."""
    listen = (
        "import os, time; from victim import app\n"
        "with app.connection_for_read() as connection:\n"
        "    channel = connection.default_channel\n"
    )
    stage.send("record", "held")
    worker = stage.server.url("plain-worker")
    stage.python(listen + "    channel.basic_get('one', no_ack=False)\n    os._exit(0)", VICTIM_BROKER=worker)
    give_back = (
        "    time.sleep(1.1)\n    channel.qos.restore_visible(interval=1)\n    print(channel._size('one'))"
    )
    broker = stage.server.url(user)
    assert stage.python(listen + give_back, VICTIM_BROKER=broker, VICTIM_VISIBILITY_TIMEOUT="1") == "1"


def test_a_prefix_is_kept_to(stage: Stage) -> None:
    stage.use_prefix("shop:")
    worker = stage.worker()
    stage.send("record", "prefixed", 30)
    wait_for(lambda: stage.begun("prefixed") == 1, 15, "it runs")
    worker.kill()
    stage.worker()
    wait_for(lambda: stage.begun("prefixed") == 2, 10, "it runs again")
    assert {key for key in stage.broker.keys("*") if not key.startswith(b"shop:")} == set()


def test_a_full_redis_does_not_end_a_worker_or_lose_what_it_takes(stage: Stage, server: Broker) -> None:
    worker = stage.worker()
    stage.send("record", "first", 4)
    wait_for(lambda: stage.begun("first") == 1, 15, "it runs")
    stage.send("record", "second", 1)
    stage.send("record", "third")
    server.client(0).config_set("maxmemory", 1)
    try:
        wait_for(lambda: stage.begun("second"), 20, "what is done makes room for the next one")
        assert stage.held() == 1
        wait_for(lambda: stage.done("third"), 20, "what it takes meanwhile is run")
    finally:
        server.client(0).config_set("maxmemory", 0)
    assert [stage.begun(key) for key in ("first", "second", "third")] == [1, 1, 1]
    assert worker.process.poll() is None
    wait_for(lambda: stage.held() == 0, 5, "all is acknowledged")


def test_what_is_taken_from_a_full_redis_is_noted(stage: Stage, server: Broker) -> None:
    """By a worker that has acknowledged nothing just now, which would have made room."""
    worker = stage.worker()
    os.kill(worker.process.pid, signal.SIGSTOP)
    stage.send("record", "first", 4)
    stage.send("record", "second")
    server.client(0).config_set("maxmemory", 1)
    try:
        os.kill(worker.process.pid, signal.SIGCONT)
        wait_for(lambda: stage.begun("first"), 15, "it runs")
        assert stage.held() >= 1
        worker.kill()
        stage.worker()
        wait_for(lambda: stage.done("first") and stage.done("second"), 30, "both are done")
        wait_for(lambda: stage.held() == 0, 5, "all is acknowledged")
    finally:
        server.client(0).config_set("maxmemory", 0)
    assert (stage.begun("first"), stage.done("first"), stage.done("second")) == (2, 1, 1)


def test_without_the_package_a_full_redis_ends_the_worker(stage: Stage, server: Broker) -> None:
    """The control."""
    worker = stage.worker(hardened=False)
    stage.send("record", "first", 4)
    wait_for(lambda: stage.begun("first") == 1, 15, "it runs")
    server.client(0).config_set("maxmemory", 1)
    try:
        wait_for(lambda: worker.process.poll() is not None, 40, "it ends")
    finally:
        server.client(0).config_set("maxmemory", 0)
