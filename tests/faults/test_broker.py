"""Rows 10 to 14 and 45: the memory of Redis, its cache, its users, its disk, and its file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import pytest

import backlog
from injection import REDIS, drop_in, fill, kill, main_pid, small_disk
from stack import APP, Stack, broker_setting, wait_for
from traffic import Producer, check, effects, publishing, settle
from trial import IN_FLIGHT, Flow, Trial

UNIT = f"{REDIS}.service"

FILES = "/var/lib/redis/appendonlydir"
LOG = "/var/log/redis/redis-server.log"
#: Publishes that are refused while Redis can take nothing: at 20 a second, about ten seconds.
REFUSED = 200


def refused(flow: Flow, reason: str, count: int = REFUSED) -> None:
    """Waits until publishers have been told so many times, and of nothing else."""
    wait_for(lambda: len(flow.producer.ledger().failed) >= count, 60, "publishes are refused")
    reasons = set(flow.producer.ledger().failed.values())
    assert [found for found in reasons if reason not in found] == []


def redis(stack: Stack, code: str, **arguments: object) -> object:
    """What code prints that asks `server`, the Redis of the broker."""
    return stack.redis(code, arguments)


# --- 10: maxmemory


def memory_is_full(trial: Trial) -> None:
    stack = trial.stack
    with trial.traffic() as flow:
        with broker_setting(stack, "maxmemory", "1mb"):
            refused(flow, "maxmemory")
            relief = time.time()
        flow.flows_again(relief, 60, give_up=120, backlog=True)
        # Workers end, but nobody kills them: what runs is done and acknowledged.
        flow.account()


@pytest.mark.row("10")
def test_redis_at_its_memory_limit(trial: Trial) -> None:
    memory_is_full(trial)


@pytest.mark.row("10")
@pytest.mark.control("maxmemory-policy allkeys-lru")
def test_redis_at_its_memory_limit_that_evicts(trial: Trial) -> None:
    """What waits is gone."""
    # Without its keys, too, Redis may need more than the limit, and then refuses as well.
    write = (
        "import redis\n"
        "try:\n"
        "    server.set('faults', 'x')\n"
        "except redis.exceptions.OutOfMemoryError:\n"
        "    pass\n"
        "server.delete('faults')\nprint('null')"
    )
    with broker_setting(trial.stack, "maxmemory-policy", "allkeys-lru"):
        backlog.publish(trial.stack)
        with broker_setting(trial.stack, "maxmemory", "1mb"):
            redis(trial.stack, write)
            trial.measure("lost", backlog.lost(trial.stack), at_most=0)


# --- 11: FLUSHDB of the cache


@pytest.mark.row("11")
def test_the_cache_is_flushed(trial: Trial) -> None:
    stack = trial.stack
    flush = (
        "from django.core.cache import cache\n"
        "cache.set('faults', 1)\ncache.clear()\nprint(json.dumps(cache.get('faults')))"
    )
    with trial.traffic() as flow:
        begun = time.time()
        assert stack.python(flush) is None
        flow.flows_again(begun, 10)
        flow.account()


@pytest.mark.row("11")
@pytest.mark.control("cache in the broker's database")
def test_the_cache_is_flushed_that_shares_the_database_of_the_broker(trial: Trial) -> None:
    backlog.publish(trial.stack)
    # What Django's cache.clear() does, in the database that the cache would then have.
    redis(trial.stack, "server.flushdb()\nprint('null')")
    trial.measure("lost", backlog.lost(trial.stack), at_most=0)


# --- 12: what an application may not ask


def allowed(stack: Stack, commands: list[list[str]]) -> int:
    """How many of the commands Redis answers with anything but NOPERM to the programs of the application."""
    code = (
        "import os, redis\n"
        "server = redis.Redis.from_url(os.environ['CELERY_BROKER_URL'], db=15)\n"
        "def answered(command):\n"
        "    try:\n"
        "        server.execute_command(*command)\n"
        "    except redis.exceptions.NoPermissionError:\n"
        "        return False\n"
        "    return True\n"
        "print(json.dumps([command for command in arguments['commands'] if answered(command)]))"
    )
    return sum(
        len(stack.python(code, {"commands": commands}, purpose))
        for purpose in ("", "WORKER", "BEAT", "FLOWER")
    )


@pytest.mark.row("12")
def test_the_application_asks_for_what_is_not_its_business(trial: Trial) -> None:
    # Without DEBUG, which Redis refuses to everybody, in other words and before it looks at the user.
    commands = [
        ["FLUSHALL"],
        ["FLUSHDB"],
        ["CONFIG", "GET", "*"],
        ["KEYS", "*"],
        ["ACL", "LIST"],
    ]
    commands += [
        ["CONFIG", "SET", "appendonly", "no"],
        ["SAVE"],
        ["SWAPDB", "1", "14"],
        ["CLIENT", "KILL", "TYPE", "normal"],
    ]
    trial.measure("allowed", allowed(trial.stack, commands), at_most=0)


@pytest.mark.row("12")
@pytest.mark.control("users with all rights")
def test_the_application_asks_with_all_rights(trial: Trial) -> None:
    stack = trial.stack
    names = [f"{APP}-{purpose}" for purpose in ("app", "worker", "beat", "flower")]
    give = "for name in arguments['names']: server.execute_command('ACL', 'SETUSER', name, '+@all')\n"
    stack.redis(give + "print('null')", {"names": names})
    try:
        # Nothing that would end the rows after this one.
        harmless = [["CONFIG", "GET", "*"], ["KEYS", "*"], ["ACL", "LIST"]]
        trial.measure("allowed", allowed(stack, harmless), at_most=0)
    finally:
        stack.redis("server.acl_load()\nprint('null')")


# --- 13: the disk


@pytest.mark.row("13")
def test_the_disk_of_redis_is_full(trial: Trial) -> None:
    stack = trial.stack
    with small_disk(stack, FILES, "redis", REDIS, mebibytes=256):
        # redis-py takes some seconds to believe each refusal, and what was held up is published afterwards.
        with trial.traffic(rate=5) as flow:
            before = main_pid(stack, REDIS)
            fill(stack, FILES)
            refused(flow, "MISCONF", count=2)
            said = stack.host.check_output(f"tail -n 50 {LOG}")
            trial.measure("not said in the log", int("writing to the AOF file" not in said), at_most=0)
            relief = time.time()
            stack.host.check_output(f"rm {FILES}/filler")

            def accepted() -> bool:
                ledger = flow.producer.ledger()
                return any(ledger.published[key] > relief for key in ledger.acknowledged[-5:])

            trial.within("publishes accepted again", 5, relief, accepted, give_up=60)
            flow.flows_again(relief, 60, give_up=120, backlog=True)
            flow.account(in_flight=sum(IN_FLIGHT.values()))
        assert main_pid(stack, REDIS) == before, "Redis was started anew"


@pytest.mark.row("13")
@pytest.mark.control("appendonly no")
def test_the_disk_of_redis_is_full_and_it_writes_no_file(trial: Trial) -> None:
    """Nobody is refused, and all of it is gone when Redis ends."""
    stack = trial.stack
    with small_disk(stack, FILES, "redis", REDIS, mebibytes=256), broker_setting(stack, "appendonly", "no"):
        fill(stack, FILES)
        backlog.publish(stack)
        stack.host.check_output(f"rm {FILES}/filler")
        before = main_pid(stack, REDIS)
        kill(stack, before)
        wait_for(lambda: main_pid(stack, REDIS) not in (0, before), 20, "Redis is started again")
        wait_for(lambda: stack.host.run(f"systemctl is-active {REDIS}").rc == 0, 20, "Redis answers")
        trial.measure("lost", backlog.lost(stack), at_most=0)


# --- 14: a damaged file

#: The last message and a half.
CUT = 1.5
#: As many were found after a power loss of a virtual machine.
NUL_BYTES = 2336
#: What does not run the program that repairs the file.
WITHOUT_REPAIR = "[Service]\nExecStartPre=\n"


def newest_file(stack: Stack) -> str:
    """The incremental file that Redis writes."""
    return str(stack.host.check_output(f"ls -t {FILES}/*.incr.aof | head -n 1"))


def log_lines(stack: Stack) -> int:
    return int(stack.host.check_output(f"wc -l <{LOG}"))


def measure_report(trial: Trial, lines: int, *expected: str) -> None:
    """Notes how much of what is expected the log does not say after so many lines."""
    said = trial.stack.host.check_output(f"tail -n +{lines + 1} {LOG}").lower()
    silent = sum(each.lower() not in said for each in expected)
    trial.measure("losses that the log does not report", silent, at_most=0)


def starts_by_itself(trial: Trial) -> None:
    """Starts Redis and waits until it answers."""
    host, begun = trial.stack.host, time.time()
    host.run(f"systemctl start --no-block {REDIS}")
    # While it reads the file it answers as well; systemd is told when it has read it.
    trial.within("Redis answers", 10, begun, lambda: host.run(f"systemctl is-active {REDIS}").rc == 0)


def damaged_file(trial: Trial, cut: float, nul_bytes: int, *reported: str) -> None:
    """The end of the file is lost, so many messages of it, and NUL bytes follow."""
    stack, host = trial.stack, trial.stack.host
    # Nobody else writes behind them.
    host.check_output("supervisorctl stop all")
    try:
        size = backlog.publish(stack)
        host.check_output(f"systemctl stop {REDIS}")
        file, lines = newest_file(stack), log_lines(stack)
        host.check_output(f"truncate --size=-{int(cut * size)} {file}")
        host.check_output(f"truncate --size=+{nul_bytes} {file}")
        starts_by_itself(trial)
        trial.measure("tasks in the cut", ceil(cut))
        trial.measure("lost", backlog.lost(stack), at_most=ceil(cut))
        measure_report(trial, lines, "truncat", *reported)
        backlog.drop(stack)
    finally:
        host.run(f"systemctl start {REDIS}")
        host.check_output("supervisorctl start all")


@pytest.mark.row("14")
def test_the_file_of_redis_is_torn(trial: Trial) -> None:
    damaged_file(trial, CUT, 0)


@contextmanager
def strict_loading(stack: Stack) -> Iterator[None]:
    """Redis that does not start with a torn file; which is fixed by Redis' own tool."""
    config = "/etc/redis/redis.conf"
    stack.host.check_output(f"sed -i.faults 's/^aof-load-truncated .*/aof-load-truncated no/' {config}")
    try:
        yield
    finally:
        stack.host.check_output(f"mv {config}.faults {config}")
        stack.host.run(f"systemctl restart {REDIS}")


@pytest.mark.row("14")
@pytest.mark.control("aof-load-truncated no")
def test_the_file_of_redis_is_torn_and_it_is_strict(trial: Trial) -> None:
    with strict_loading(trial.stack):
        damaged_file(trial, CUT, 0)


@pytest.mark.row("14b")
@pytest.mark.parametrize("cut", [0, 0.5], ids=["whole", "torn"])
def test_the_file_of_redis_ends_in_nul_bytes(trial: Trial, cut: float) -> None:
    damaged_file(trial, cut, NUL_BYTES, f"ended in {NUL_BYTES} NUL bytes")


@pytest.mark.row("14b")
@pytest.mark.control("no ExecStartPre")
def test_the_file_of_redis_ends_in_nul_bytes_and_nobody_repairs_it(trial: Trial) -> None:
    with drop_in(trial.stack, UNIT, WITHOUT_REPAIR):
        damaged_file(trial, 0, NUL_BYTES)


# --- 45: a power loss

SYNCED = "/var/lib/redis/faults-synced"
#: A library of tcc's needs an executable stack, and Redis may load none from this directory.
RECORDED = f"""[Service]
Restart=no
Environment=LD_PRELOAD=/usr/local/lib/synced_length.so SYNCED_LENGTHS={SYNCED}
MemoryDenyWriteExecute=no
ExecPaths=/usr/local/lib
"""
#: Tasks a second, to a queue that nobody works on until Redis is back.
RATE = 100
#: In which an acknowledged task may be lost with everysec.
AT_RISK_SECONDS = 2


@contextmanager
def recorded_syncs(stack: Stack) -> Iterator[None]:
    """Redis that notes what of its file is on the disk, and is not started again when it ends."""
    host = stack.host
    host.check_output(f"install -d -o redis -g redis {SYNCED}")
    try:
        with drop_in(stack, UNIT, RECORDED):
            host.check_output(f"systemctl restart {REDIS}")
            assert "synced_length" in host.check_output(f"cat /proc/{main_pid(stack, REDIS)}/maps")
            yield
    finally:
        host.run(f"systemctl restart {REDIS}")
        host.check_output(f"rm -rf {SYNCED}")


def lose_power(stack: Stack) -> None:
    """Ends Redis and takes away what it has not synced; the file keeps its length, and more, in NUL bytes."""
    host = stack.host
    kill(stack, main_pid(stack, REDIS))
    wait_for(lambda: host.run(f"systemctl is-failed {REDIS}").rc == 0, 10, "Redis has ended")
    file = newest_file(stack)
    synced = int(host.check_output(f"cat {SYNCED}/$(basename {file})"))
    size = int(host.check_output(f"stat --format %s {file}"))
    assert 0 < synced <= size
    host.check_output(f"truncate --size={synced} {file} && truncate --size={size + NUL_BYTES} {file}")
    # A container that is started again has the same boot id: what Redis was started in was another one.
    host.check_output("echo imitated >/var/lib/redis/rootstock-boot-id")


def power_is_lost(trial: Trial, appendfsync: str, promised: str) -> None:
    stack, host = trial.stack, trial.stack.host
    with recorded_syncs(stack), broker_setting(stack, "appendfsync", appendfsync):
        host.check_output("supervisorctl stop all")
        try:
            with Producer(stack, RATE, long_every=0, in_place=True) as producer:
                publishing(producer, 4 * RATE)
                lines = log_lines(stack)
                lose_power(stack)
                ledger = producer.stop()
            starts_by_itself(trial)
            measure_report(trial, lines, "went down without stopping", "NUL bytes")
        finally:
            host.run(f"systemctl start {REDIS}")
            host.check_output("supervisorctl start all")
        settle(stack, 120)
    lost = check(ledger, effects(stack, f"{producer.run}/")).lost
    # The last one that it took: nothing else tells as exactly when Redis has ended.
    ended = ledger.published[ledger.acknowledged[-1]]
    earlier = [key for key in lost if ledger.published[key] < ended - AT_RISK_SECONDS]
    trial.measure("tasks acknowledged", len(ledger.acknowledged))
    if promised == "everysec":
        trial.measure("everysec: lost", len(lost))
        trial.measure(f"of them acknowledged over {AT_RISK_SECONDS} s before", len(earlier), at_most=0)
    else:
        trial.measure("always: lost", len(lost), at_most=0)


@pytest.mark.row("45")
@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
def test_the_power_is_lost(trial: Trial, appendfsync: str) -> None:
    power_is_lost(trial, appendfsync, appendfsync)


@pytest.mark.row("45")
@pytest.mark.control("everysec instead of always")
def test_the_power_is_lost_and_redis_has_not_synced(trial: Trial) -> None:
    power_is_lost(trial, "everysec", "always")
