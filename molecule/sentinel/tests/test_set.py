"""Three Redis are one: who is the primary may change, and nothing that was accepted is lost."""

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest

from condition import readiness
from fleet import server
from interruption import Playbooks
from redis_set import APP, MEMBERS, RedisSet, apart
from stack import Stack, ansible, ansible_vault, recap, wait_for
from traffic import Account, Producer, publishing

#: A task that runs when its worker loses Redis may run again: as many as there are processes.
AT_ONCE = 8


def assert_nothing_lost(account: Account) -> None:
    print(account)
    assert (account.lost, account.unexpected) == ([], []), account
    assert len(account.duplicated) <= AT_ONCE, account


def longest_gap(producer: Producer) -> float:
    """Return the longest time (seconds) in which no publish was acknowledged."""
    ledger = producer.stop()
    times = sorted(ledger.published[key] for key in ledger.acknowledged)
    return max(later - earlier for earlier, later in pairwise(times))


def test_all_programs_reach_the_primary(stack: Stack, redis: RedisSet) -> None:
    """The broker, the results, the cache, and all that the readiness page asks."""
    assert stack.send("diagnostics.tasks.whoami", queue="critical")["hostname"]
    code = "from django.core.cache import cache\ncache.set('a', 1)\nprint(json.dumps(cache.get('a')))"
    assert stack.python(code) == 1
    assert readiness(stack)[0] == 200
    peers = {
        line.split("addr=")[1].split(":")[0]
        for line in redis.ask(redis.primary(), "CLIENT LIST").splitlines()
    }
    assert "10.90.0.21" in peers


def test_a_primary_that_is_killed_is_replaced(stack: Stack, redis: RedisSet) -> None:
    primary = redis.primary()
    with Producer(stack, in_place=True) as producer:
        publishing(producer)
        host = redis.hosts[primary]
        host.check_output(
            "systemctl kill --signal KILL redis-server; systemctl stop redis-server redis-sentinel"
        )
        other = redis.wait_for_another(primary)
        publishing(producer)
        # Who comes back does not become what it was.
        host.check_output("systemctl start redis-server redis-sentinel")
        redis.wait_until_whole()
        publishing(producer)
    assert redis.primary() == other
    print(f"no publish was acknowledged for {longest_gap(producer):.1f} s")
    assert longest_gap(producer) < 15
    assert_nothing_lost(producer.account())


def test_a_primary_whose_process_is_killed_comes_back(stack: Stack, redis: RedisSet) -> None:
    with Producer(stack, in_place=True) as producer:
        publishing(producer)
        redis.hosts[redis.primary()].check_output("systemctl kill --signal KILL redis-server")
        publishing(producer)
        redis.wait_until_whole()
    print(f"no publish was acknowledged for {longest_gap(producer):.1f} s")
    assert_nothing_lost(producer.account())


def test_a_failover_on_request_loses_nothing(stack: Stack, redis: RedisSet, play: Playbooks) -> None:
    primary = redis.primary()
    with Producer(stack, in_place=True) as producer:
        play.run("failover")
        first = redis.primary()
        assert first != primary
        # At once, while some Sentinels have not yet seen what became of the one before.
        play.run("failover")
        assert redis.primary() != first
        publishing(producer)
        redis.wait_until_whole()
    print(f"no publish was acknowledged for {longest_gap(producer):.1f} s")
    assert_nothing_lost(producer.account())


def test_a_run_after_a_failover_changes_nothing_and_moves_nobody(inventory: str, redis: RedisSet) -> None:
    first = next(iter(MEMBERS))
    if redis.primary() == first:
        ansible(inventory=inventory, playbook="failover")
        redis.wait_until_whole()
    primary = redis.primary()
    assert primary != first
    figures = recap(ansible(inventory=inventory).stdout)
    assert {host: each["changed"] for host, each in figures.items()} == dict.fromkeys(figures, 0)
    assert redis.primary() == primary


def test_flower_shows_what_is_done_after_a_failover(
    stack: Stack, redis: RedisSet, play: Playbooks, inventory: str
) -> None:
    """Workers tell it of tasks over Redis, and nothing keeps what it does not hear."""
    secrets = ansible_vault(Path(inventory) / "group_vars/all/vault.yml")
    login = ("flower", secrets["vault_flower_password"])
    play.run("failover")
    redis.wait_until_whole()
    sent: list[str] = []

    def shown() -> bool:
        sent.append(stack.send("diagnostics.tasks.sleep", 0, queue="default", wait=None))
        answers = [stack.get(f"/flower/api/task/info/{task}", auth=login).status_code for task in sent]
        assert set(answers) <= {200, 404}, answers
        return 200 in answers

    wait_for(shown, 30, "Flower has heard of a task")


def test_with_one_sentinel_less_a_primary_is_replaced(stack: Stack, redis: RedisSet) -> None:
    primary = redis.primary()
    away = next(name for name in MEMBERS if name != primary)
    redis.hosts[away].check_output("systemctl stop redis-sentinel")
    try:
        with Producer(stack, in_place=True) as producer:
            publishing(producer)
            redis.hosts[primary].check_output("systemctl stop redis-server")
            wait_for(
                lambda: "master" in {redis.role(name) for name in MEMBERS}, 30, "another one is the primary"
            )
            publishing(producer)
            redis.hosts[primary].check_output("systemctl start redis-server")
            publishing(producer)
    finally:
        redis.hosts[away].check_output("systemctl start redis-sentinel")
    redis.wait_until_whole()
    assert_nothing_lost(producer.account())


def test_a_failover_whose_sentinel_dies_is_tried_again(stack: Stack, redis: RedisSet) -> None:
    """By the two that are left, although both have just voted."""
    primary = redis.primary()
    restarts = "systemctl show --property NRestarts --value redis-sentinel"
    before = {name: host.check_output(restarts) for name, host in redis.hosts.items()}
    for name in MEMBERS:
        redis.ask_sentinel(name, "SIMULATE-FAILURE crash-after-election")

    def elected() -> str:
        return next(
            (name for name in MEMBERS if redis.hosts[name].check_output(restarts) != before[name]), ""
        )

    with Producer(stack, in_place=True) as producer:
        publishing(producer)
        redis.hosts[primary].check_output("systemctl stop redis-server")
        dead = wait_for(elected, 15, "a Sentinel has been elected and has died of it")
        redis.hosts[dead].check_output("systemctl stop redis-sentinel")
        try:
            for name in set(MEMBERS) - {dead}:
                redis.ask_sentinel(name, "SIMULATE-FAILURE help")
            redis.wait_for_another(primary)
            publishing(producer)
        finally:
            redis.hosts[dead].check_output("systemctl start redis-sentinel")
            redis.hosts[primary].check_output("systemctl start redis-server")
    redis.wait_until_whole()
    print(f"no publish was acknowledged for {longest_gap(producer):.1f} s")
    assert_nothing_lost(producer.account())


def test_a_primary_that_is_cut_off_is_replaced(stack: Stack, redis: RedisSet) -> None:
    primary = redis.primary()
    others = [name for name in (*MEMBERS, APP) if name != primary]
    with Producer(stack, in_place=True) as producer:
        publishing(producer)
        with apart([primary], others):
            other = redis.wait_for_another(primary)
            publishing(producer)
        redis.wait_until_whole()
        publishing(producer)
    assert redis.primary() == other
    print(f"no publish was acknowledged for {longest_gap(producer):.1f} s")
    assert_nothing_lost(producer.account())


def test_what_a_primary_in_the_minority_accepts_is_bounded(stack: Stack, redis: RedisSet) -> None:
    """With an application on its side: no replica gets it, and the other side goes on without it."""
    primary = redis.primary()
    others = [name for name in MEMBERS if name != primary]
    with Producer(stack, in_place=True) as producer:
        publishing(producer)
        with apart([primary, APP], others):
            begun = time.time()
            redis.wait_for_another(primary)
            # Longer than it takes until it accepts nothing any more.
            time.sleep(max(0.0, begun + 20 - time.time()))
        redis.wait_until_whole()
        publishing(producer)
    ledger, account = producer.stop(), producer.account()
    late = [key for key in ledger.acknowledged if begun + 8 < ledger.published[key] < begun + 20]
    print(account, f"published later than 8 s and accepted: {len(late)}")
    # One publish may wait for a connection until the network is whole: the other side accepts it then.
    assert len(late) <= 1
    # Workers on that side run what it accepts; lost is what was still waiting.
    assert all(begun - 1 < ledger.published[key] < begun + 8 for key in account.lost), account


def test_the_server_of_the_primary_is_rebooted(stack: Stack, redis: RedisSet, play: Playbooks) -> None:
    primary = redis.primary()
    with Producer(stack, in_place=True) as producer:
        play.run("reboot", limit=primary)
        redis.wait_until_whole()
        publishing(producer)
    assert redis.primary() != primary
    assert_nothing_lost(producer.account())


def test_status_tells_of_a_replica_that_is_away(inventory: str, redis: RedisSet, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    away = next(name for name in MEMBERS if name != redis.primary())
    healthy = ansible("-e", f"status_file={file}", inventory=inventory, playbook="status", check=False)
    assert healthy.returncode == 0, healthy.stdout
    assert json.loads(file.read_text())["state"] == "healthy"
    redis.hosts[away].check_output("systemctl stop redis-server redis-sentinel")
    try:
        ansible("-e", f"status_file={file}", inventory=inventory, playbook="status", check=False)
    finally:
        redis.hosts[away].check_output("systemctl start redis-server redis-sentinel")
    found = {(reason["host"], reason["what"]) for reason in json.loads(file.read_text())["reasons"]}
    assert (away, "member of the Redis set") in found


@pytest.mark.parametrize("port", [6379, 26379])
def test_only_the_servers_of_the_stack_reach_it(port: int) -> None:
    """The application has no business with a Sentinel."""
    connect = f"timeout 3 bash -c '</dev/tcp/10.90.0.11/{port}'"
    assert (server(APP).run(connect).rc == 0) == (port == 6379)
    assert server("data2").run(connect).rc == 0
