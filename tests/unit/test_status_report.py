"""Which figures of playbooks/status.yml are healthy and which are not."""

from typing import Any

import pytest

from status_looks import (
    BROKER,
    GROUPS,
    HOLDER,
    HOLDERS,
    LOOK,
    MEGABYTE,
    QUEUE,
    QUEUES,
    SETTINGS,
    change,
    holder,
    item,
    judge,
    program,
)


def test_a_healthy_host_has_no_reason() -> None:
    found = judge(item(LOOK))
    assert (found["state"], found["reasons"]) == ("healthy", [])
    (queue,) = found["apps"][0]["brokers"][0]["queues"]
    assert (queue["waiting"], queue["consumers"], queue["pools"]) == (3, 1, ["default"])


# What a host tells, the state that it makes, what its one reason is about.
FAULTS = [
    ("programs/2/state", "FATAL", "unhealthy", "program shop-web.aaaaaaaa"),
    ("programs/2/state", "BACKOFF", "unhealthy", "program shop-web.aaaaaaaa"),
    ("programs/2/state", "STOPPED", "unhealthy", "program shop-web.aaaaaaaa"),
    ("programs/2/state", "UNKNOWN", "unhealthy", "program shop-web.aaaaaaaa"),
    ("programs/1", program("shop-other"), "unhealthy", "group flower"),
    ("supervisor", "Connection refused", "unhealthy", "Supervisor"),
    ("generation", "", "unhealthy", "generation"),
    ("web", "502 Bad Gateway", "unhealthy", "/srv/shop/web.sock"),
    ("edge", "502 Bad Gateway", "unhealthy", "port 443"),
    ("certificate/days", -1.0, "unhealthy", "certificate"),
    ("certificate/days", 6.9, "unhealthy", "certificate"),
    ("certificate/days", 20.9, "warning", "certificate"),
    ("certificate", {"error": "Connection refused"}, "unhealthy", "port 443"),
    ("beat/age", 180.0 + 300 + 120 + 1, "unhealthy", "beat"),
    ("beat/age", None, "unhealthy", "beat"),
    ("timers/0/waits", False, "unhealthy", "timer sessions"),
    ("timers/0/result", "exit-code", "unhealthy", "timer sessions"),
    ("disks/0/free", 4.9 * 1000**3, "unhealthy", "disk /"),
    (
        "disks/0",
        {"path": "/var/log", "total": 2 * 1000**3, "free": 499 * MEGABYTE},
        "unhealthy",
        "disk /var/log",
    ),
    ("member", "its Sentinel says nothing", "warning", "member of the Redis set"),
    ("application/start", {"error": "ImportError: no module"}, "unhealthy", "application"),
    ("application/run", {"error": "no answer within 60 s"}, "unhealthy", "application"),
    ("application/database", {"error": "OperationalError"}, "unhealthy", "database"),
    ("application/cache", {"error": "ConnectionError"}, "unhealthy", "cache"),
    ("application/broker", {"error": "ConnectionError"}, "unhealthy", "broker"),
    ("application/broker", {"value": None}, "warning", "broker"),
    ("application/results", {"error": "ConnectionError"}, "unhealthy", "result backend"),
    ("application/queues", {"error": "NoPermissionError"}, "unhealthy", "queues"),
    ("application/workers", {"error": "OutOfMemoryError"}, "unhealthy", "workers"),
    (
        "application/workers/value/expected/0",
        "default.aaaaaaaa@two",
        "warning",
        "worker default.aaaaaaaa@two",
    ),
    (f"{BROKER}/used_memory", 90 * MEGABYTE, "warning", "Redis memory"),
    (f"{BROKER}/used_memory", 100 * MEGABYTE, "unhealthy", "Redis memory"),
    (f"{BROKER}/used_memory", None, "warning", "Redis"),
    (f"{BROKER}/maxmemory_policy", "allkeys-lru", "warning", "Redis maxmemory-policy"),
    (f"{BROKER}/aof_enabled", 0, "warning", "Redis append-only file"),
    (f"{BROKER}/aof_last_write_status", "err", "unhealthy", "Redis append-only file"),
    (f"{BROKER}/aof_last_bgrewrite_status", "err", "warning", "Redis append-only file"),
    (f"{BROKER}/loading", 1, "unhealthy", "Redis"),
    (f"{QUEUES}/dead_letters", 2, "warning", "dead letters"),
    (f"{QUEUE}/name", "renamed", "unhealthy", "queue renamed"),
    (f"{HOLDER}/seen", 61.0, "unhealthy", "worker default.aaaaaaaa@one"),
    (f"{HOLDERS}/1", holder("default.bbbbbbbb@gone", seen=61.0), "unhealthy", "worker default.bbbbbbbb@gone"),
    (f"{HOLDER}/oldest_due", 1800.0 + 60 + 1, "unhealthy", "worker default.aaaaaaaa@one"),
    (
        f"{HOLDERS}/0",
        holder("", seen=None, oldest_due=3600.0 + 120 + 1),
        "unhealthy",
        "consumers without the package rootstock_worker",
    ),
]


@pytest.mark.parametrize(("path", "value", "state", "what"), FAULTS)
def test_a_fault_is_one_reason(path: str, value: Any, state: str, what: str) -> None:
    found = judge(item(change(path, value)))
    assert [(reason["state"], reason["what"]) for reason in found["reasons"]] == [(state, what)]
    (reason,) = found["reasons"]
    assert (found["state"], found["apps"][0]["state"], reason["host"], reason["app"]) == (
        state,
        state,
        "one",
        "shop",
    )
    assert all(reason[key] for key in ("value", "rule", "do"))
    assert reason["text"] == f"one: {what}: {reason['value']}; {reason['rule']}; {reason['do']}"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("programs/2/state", "STARTING"),
        # A replaced generation finishes its work, or failed while it did.
        ("programs/3", program("shop-worker-default.bbbbbbbb", state="STOPPING", wanted=False)),
        ("certificate/days", 21.0),
        ("certificate", None),
        ("beat/age", 180.0 + 300 + 120),
        ("disks/0/free", 5.0 * 1000**3),
        ("timers/0", {"name": "sessions", "waits": True, "result": "", "age": None}),
        ("timers/0/result", "running"),
        (f"{BROKER}/used_memory", 89 * MEGABYTE),
        (f"{BROKER}/maxmemory", 0),
        # Held on purpose, until their ETA.
        (f"{QUEUE}/oldest_unacknowledged", 90000.0),
        (f"{HOLDER}/oldest_unacknowledged", 90000.0),
        (f"{HOLDER}/oldest_due", None),
        (f"{HOLDER}/oldest_due", 1800.0 + 60),
        (f"{HOLDER}/seen", 60.0),
        # Who holds nothing may be dead.
        (f"{HOLDERS}/1", holder("default.bbbbbbbb@gone", seen=9999.0, unacknowledged=0)),
        (f"{HOLDERS}/0", holder("", seen=None, oldest_unacknowledged=3720.0, oldest_due=3720.0)),
    ],
)
def test_at_the_limit_it_is_healthy(path: str, value: Any) -> None:
    look = change(path, value)
    if path == "programs/3":
        look["programs"].append(program("shop-worker-default.aaaaaaaa"))
    assert judge(item(look))["reasons"] == []


def test_a_queue_of_a_pool_needs_a_consumer_and_an_empty_one_of_none_does_not() -> None:
    idle = change("application/workers/value", {"nodes": {}, "expected": []})
    idle = change(f"{QUEUE}/waiting", 0, idle)
    assert [reason["what"] for reason in judge(item(idle))["reasons"]] == ["queue default"]
    assert judge(item(change("pools", {}, idle)))["reasons"] == []


# What else a host tells beside an old message, and for how long a message may be held then.
LONGEST = [
    # Two tasks of which one waits for the other.
    ("limits", {"default.aaaaaaaa": {"time_limit": 300, "prefetch_multiplier": 2}}, 660),
    # A task has a longer time limit than its pool, and a call has a longer one than its task.
    (f"{SETTINGS}/longest_task_time_limit", 2400, 2460),
    (f"{QUEUES}/longest_call_time_limit", 3000, 3060),
    # Beyond that a worker of another server takes it, whatever the time limits are.
    (f"{QUEUES}/longest_call_time_limit", 7200, 3720),
    ("limits", {"default.aaaaaaaa": {"time_limit": 300, "prefetch_multiplier": 0}}, 3720),
    # A worker whose command line nobody knows has the application's settings.
    ("limits", {}, 3720),
]


@pytest.mark.parametrize(("path", "value", "seconds"), LONGEST)
def test_how_long_a_message_may_be_held(path: str, value: Any, seconds: float) -> None:
    look = change(path, value)
    assert judge(item(change(f"{HOLDER}/oldest_due", seconds, look)))["reasons"] == []
    (reason,) = judge(item(change(f"{HOLDER}/oldest_due", seconds + 1.0, look)))["reasons"]
    assert reason["what"] == "worker default.aaaaaaaa@one"


def test_a_worker_whose_command_line_nobody_knows_has_the_time_limit_of_the_application() -> None:
    look = change("limits", {}, change(f"{SETTINGS}/default_time_limit", 300))
    look = change(f"{HOLDER}/oldest_due", 4 * 300.0 + 60, look)
    assert judge(item(look))["reasons"] == []
    (reason,) = judge(item(change(f"{HOLDER}/oldest_due", 4 * 300.0 + 61, look)))["reasons"]
    assert "4 reserved tasks of 300 s" in reason["rule"]


def test_what_consumes_by_itself_has_no_time_limit() -> None:
    look = change(f"{HOLDERS}/0", holder("", seen=None, oldest_due=3720.0))
    assert judge(item(change(f"{SETTINGS}/default_time_limit", 300, look)))["reasons"] == []


def test_a_message_held_too_long_is_told_with_its_task_and_what_to_type() -> None:
    (reason,) = judge(item(change(f"{HOLDER}/oldest_due", 2000.4)))["reasons"]
    assert reason["text"] == (
        "one: worker default.aaaaaaaa@one: a message of task orders.pay unacknowledged for 2000 s; "
        "at most 1860 s: 1800 s, the longest time limit, and 60 s; "
        "on one, read the log of shop-worker-default.aaaaaaaa, then type supervisorctl restart "
        "shop-worker-default.aaaaaaaa: it gives back to its queue what it has not finished"
    )


# --- Whether a worker process lives that holds messages


def dead(*others: dict[str, Any], **told: Any) -> dict[str, Any]:
    """What a host tells after the worker of another server has died with messages."""
    lost = holder("default.aaaaaaaa@two", machine="boot-of-two", unacknowledged=4, seen=75.0)
    lost |= {"oldest_unacknowledged": 360.0, "oldest_due": 360.0} | told
    return change(HOLDERS, [holder("default.aaaaaaaa@one"), lost, *others])


def test_a_server_that_lost_its_power_is_told_with_what_to_type() -> None:
    (reason,) = judge(item(dead()))["reasons"]
    assert reason["text"] == (
        "one: worker default.aaaaaaaa@two: "
        "4 unacknowledged messages held by nobody alive, the oldest for 360 s; "
        "the process last said 75 s ago that it lives; "
        "a worker says every 10 s that it lives; one that has not for 60 s is dead; "
        "on two, type supervisorctl status and restart its workers: they give them back to their queues "
        "within about 10 s. If that server is gone for good, wait: another worker gives the oldest back "
        "in at most 3360 s, by the visibility timeout. Then run make status again"
    )


@pytest.mark.parametrize(
    "other",
    [
        holder("mail.aaaaaaaa@two", machine="boot-of-two", unacknowledged=0),
        # The same worker after a reboot.
        holder("default.aaaaaaaa@two", machine="next-boot-of-two", unacknowledged=0),
    ],
)
def test_a_worker_that_gives_the_messages_back_is_named(other: dict[str, Any]) -> None:
    look = dead(other)
    (reason,) = judge(item(look))["reasons"]
    assert reason["do"].startswith(f"wait: {other['node']} gives them back to their queues within about 10 s")
    (reason,) = judge(item(change(f"{HOLDERS}/2/seen", 61.0, look)))["reasons"]
    assert reason["do"].startswith("on two, type supervisorctl status")


def test_of_a_worker_that_lives_nothing_is_given_back() -> None:
    beside = holder("mail.aaaaaaaa@one")
    found = judge(item(change(HOLDERS, [holder("default.aaaaaaaa@one"), beside])))
    holders = found["apps"][0]["brokers"][0]["holders"]
    assert [(holder["alive"], holder["recovered_by"]) for holder in holders] == [(True, [])] * 2


def test_a_dead_worker_is_one_reason_however_old_its_messages_are() -> None:
    (reason,) = judge(item(dead(oldest_due=9000.0, oldest_unacknowledged=9000.0)))["reasons"]
    assert "held by nobody alive" in reason["value"]
    assert "in at most 120 s" in reason["do"]


def test_one_message_is_one_message() -> None:
    (reason,) = judge(item(dead(unacknowledged=1)))["reasons"]
    assert reason["value"].startswith("1 unacknowledged message held by nobody alive")


def answers(*nodes: str, **told: Any) -> dict[str, Any]:
    """The same with a worker of an older package, which never says that it lives; these nodes answer."""
    ours = {"default.aaaaaaaa@one": ["default"]} | {node: ["default"] for node in nodes}
    return change("application/workers/value/nodes", ours, dead(seen=None, **told))


def test_a_worker_of_an_older_package_lives_if_it_answers() -> None:
    assert judge(item(answers("default.aaaaaaaa@two")))["reasons"] == []
    (reason,) = judge(item(answers()))["reasons"]
    assert "360 s; the process does not answer" in reason["value"]


def test_a_worker_of_an_older_package_may_have_just_started() -> None:
    assert judge(item(answers(oldest_unacknowledged=60.0)))["reasons"] == []
    assert len(judge(item(answers(oldest_unacknowledged=61.0)))["reasons"]) == 1


@pytest.mark.parametrize("state", ["STOPPING", "RUNNING", "STARTING"])
def test_a_draining_worker_of_an_older_package_lives(state: str) -> None:
    two = change("application/workers/value/expected", ["default.aaaaaaaa@two"])
    two = change("application/workers/value/nodes", {"default.aaaaaaaa@two": ["default"]}, two)
    draining = answers()
    two["programs"].append(program("shop-worker-default.bbbbbbbb", state=state, wanted=False))
    draining = change(f"{HOLDERS}/1/node", "default.bbbbbbbb@two", draining)
    assert judge(item(draining), item(two, "two"))["state"] == "healthy"
    # Of another server the same program tells nothing.
    elsewhere = change(f"{HOLDERS}/1/node", "default.bbbbbbbb@three", draining)
    assert judge(item(elsewhere), item(two, "two"))["state"] == "unhealthy"
    # A program that has ended is no process.
    ended = change("programs/4/state", "EXITED", two)
    assert judge(item(draining), item(ended, "two"))["state"] == "unhealthy"


def test_of_a_worker_of_an_older_package_nothing_is_known_while_none_can_be_asked() -> None:
    look = change("application/workers", {"error": "OutOfMemoryError"}, dead(seen=None))
    assert [reason["what"] for reason in judge(item(look))["reasons"]] == ["workers"]


def test_a_queue_whose_workers_cannot_be_asked_is_not_said_to_have_none() -> None:
    found = judge(item(change("application/workers", {"error": "OutOfMemoryError"})))
    assert found["apps"][0]["brokers"][0]["queues"][0]["consumers"] is None


def test_buffers_do_not_count_against_the_limit() -> None:
    look = change(f"{BROKER}/used_memory", 95 * MEGABYTE)
    assert judge(item(change(f"{BROKER}/mem_not_counted_for_evict", 10 * MEGABYTE, look)))["reasons"] == []


def test_beat_sleeps_as_long_as_the_application_lets_it() -> None:
    look = change("beat/age", 180.0 + 900 + 120)
    assert judge(item(change(f"{SETTINGS}/beat_max_loop_interval", 900, look)))["reasons"] == []


def test_of_a_beat_that_keeps_its_schedule_elsewhere_nothing_is_known() -> None:
    look = change("beat/age", None)
    scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    assert judge(item(change(f"{SETTINGS}/beat_scheduler", scheduler, look)))["reasons"] == []


def test_a_beat_that_has_just_started_may_have_no_file_yet() -> None:
    look = change("beat/age", None)
    assert judge(item(change("programs/0/age", 10, look)))["reasons"] == []


def test_a_beat_that_does_not_run_is_one_reason_not_two() -> None:
    look = change("programs/0/state", "FATAL", change("beat/age", 9999.0))
    assert [reason["what"] for reason in judge(item(look))["reasons"]] == ["program shop-beat"]


def test_a_host_without_a_release_has_one_reason_and_a_data_store_needs_none() -> None:
    bare = LOOK | {"release": "", "generation": "", "programs": [], "pools": {}, "application": {}}
    bare |= {"beat": None, "web": "No such file"}
    assert [reason["what"] for reason in judge(item(bare))["reasons"]] == ["generation"]
    store = bare | {"certificate": None, "web": None, "edge": None}
    assert judge(item(store, groups=["redis"]))["reasons"] == []


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (
            {"unreachable": True, "msg": "Task failed: ssh: Connection refused"},
            "Task failed: ssh: Connection refused",
        ),
        (
            {"rc": 127, "msg": "not found", "module_stderr": "sh: 1:\npython3: not found\n"},
            "python3: not found",
        ),
        ({"rc": 1, "stdout": "", "stderr": "Traceback:\nKeyError: 'app'"}, "KeyError: 'app'"),
        ({"failed": True, "msg": ""}, "no answer"),
    ],
)
def test_a_host_that_cannot_be_looked_at_is_named_and_the_others_are_shown(result: Any, value: str) -> None:
    lost = {"host": "two", "app": "shop", "groups": GROUPS, "look": result}
    found = judge(item(LOOK), lost)
    assert [(r["host"], r["what"], r["value"]) for r in found["reasons"]] == [("two", "host", value)]
    assert [host["reached"] for host in found["apps"][0]["hosts"]] == [True, False]


def test_hosts_of_one_broker_share_its_queues_and_their_consumers_add_up() -> None:
    other = change("application/workers/value/nodes", {"default.aaaaaaaa@two": ["default"]})
    other["application"]["workers"]["value"]["expected"] = ["default.aaaaaaaa@two"]
    (broker,) = judge(item(LOOK), item(other, "two"))["apps"][0]["brokers"]
    assert (broker["hosts"], broker["queues"][0]["consumers"]) == (["one", "two"], 2)


def test_a_broker_has_the_queues_of_all_hosts_pools() -> None:
    web = change("pools", {}, change(f"{QUEUES}/queues", []))
    mail = change(f"{QUEUE}/name", "mail", change("pools", {"mail.aaaaaaaa": ["mail"]}))
    (broker,) = judge(item(web, "web"), item(LOOK), item(mail, "two"))["apps"][0]["brokers"]
    assert [queue["name"] for queue in broker["queues"]] == ["default", "mail"]


@pytest.mark.parametrize(
    "identity", [["another", "1", ""], ["7c68b5884997ab27", "2", ""], ["7c68b5884997ab27", "1", "p"]]
)
def test_another_redis_database_or_prefix_is_another_broker(identity: list[str]) -> None:
    other = change(f"{BROKER}/identity", identity)
    assert len(judge(item(LOOK), item(other, "two"))["apps"][0]["brokers"]) == 2


def test_redis_that_does_not_tell_who_it_is_is_one_for_each_host() -> None:
    silent = change(f"{BROKER}/identity", ["", "1", ""])
    assert len(judge(item(silent), item(silent, "two"))["apps"][0]["brokers"]) == 2


def test_different_releases_are_a_warning() -> None:
    found = judge(item(LOOK), item(change("release", "ffffffffffff"), "two"))
    assert [(r["state"], r["what"], r["value"]) for r in found["reasons"]] == [
        ("warning", "releases", "0f3a9c51be77, ffffffffffff")
    ]


def test_applications_are_apart_and_the_worst_reasons_come_first() -> None:
    warned = change("certificate/days", 10.0)
    broken = change("web", "no answer", LOOK | {"programs": [program("blog-web.aaaaaaaa")]})
    found = judge(item(warned), item(broken, "two", "blog", ["web"]))
    assert [(app["name"], app["state"]) for app in found["apps"]] == [
        ("shop", "warning"),
        ("blog", "unhealthy"),
    ]
    assert [reason["app"] for reason in found["reasons"]] == ["blog", "shop"]
