"""What an application's own connections say, with the real Django, Celery and kombu; Redis is not needed."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import application
from repository import PROJECT, source_module

SOURCE = "playbooks/files/status_application.py"
PASSWORD = "s3cret-of-redis"
POOLS = {"default.aaaaaaaa": ["default", "mail"]}
# Nobody listens on port 1.
PROJECT_CODE = f"""
import os
from celery import Celery

SECRET_KEY = "x"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}}}
print("the application says hello")
app = Celery("project", broker="redis://:{PASSWORD}@127.0.0.1:1/1", backend="redis://:{PASSWORD}@127.0.0.1:1/2")
app.conf.broker_transport_options = {{"visibility_timeout": 7200}}
"""


def ask(directory: Path, code: str = "") -> dict[str, Any]:
    """Return the answers of an application with more code at its end, asked as the host asks it."""
    (directory / "project.py").write_text(PROJECT_CODE + code)
    done = subprocess.run(
        [application.python(), "-", "project", json.dumps(POOLS)],
        input=(PROJECT / SOURCE).read_text(),
        cwd=directory,
        env={"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "project", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    answers: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        answers |= json.loads(line)
    return answers


def test_each_part_answers_for_itself_while_redis_is_down(tmp_path: Path) -> None:
    answers = ask(tmp_path)
    assert answers["settings"]["value"] == {
        "visibility_timeout": 7200,
        "default_time_limit": None,
        "default_prefetch_multiplier": 4,
        "longest_task_time_limit": 0,
        "beat_scheduler": "celery.beat:PersistentScheduler",
        "beat_max_loop_interval": 300,
    }
    assert (answers["database"], answers["cache"]) == ({"value": None}, {"value": None})
    assert "refused" in answers["broker"]["error"]
    assert "refused" in answers["results"]["error"]
    assert "queues" not in answers


def test_time_limits_are_those_of_imported_tasks_too(tmp_path: Path) -> None:
    (tmp_path / "limited.py").write_text(
        "from celery import shared_task\n"
        "@shared_task(time_limit=40)\ndef short(): pass\n"
        "@shared_task(time_limit=7200)\ndef long(): pass\n"
    )
    limits = "task_time_limit=300, worker_prefetch_multiplier=1, imports=['limited']"
    answers = ask(tmp_path, f"app.conf.update({limits})\n")
    settings = answers["settings"]["value"]
    assert (settings["default_time_limit"], settings["longest_task_time_limit"]) == (300, 7200)
    assert settings["default_prefetch_multiplier"] == 1


def test_a_database_and_a_cache_that_do_not_answer_are_named(tmp_path: Path) -> None:
    answers = ask(
        tmp_path,
        'DATABASES["default"]["NAME"] = "/nonexistent/database"\n'
        'CACHES["default"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache",\n'
        f'    "LOCATION": "redis://:{PASSWORD}@127.0.0.1:1/0"}}\n',
    )
    assert answers["database"]["error"] == "OperationalError: unable to open database file"
    assert "refused" in answers["cache"]["error"]


def test_a_broker_that_is_no_redis_has_no_figures(tmp_path: Path) -> None:
    answers = ask(tmp_path, 'app.conf.update(broker_url="memory://", result_backend=None)')
    assert (answers["broker"], answers["queues"], answers["results"]) == ({"value": None},) * 3


def test_an_application_that_cannot_be_loaded_says_why_without_a_password(tmp_path: Path) -> None:
    answers = ask(tmp_path, f'raise RuntimeError("no such host in redis://:{PASSWORD}@cache/0\\nmore")')
    assert list(answers) == ["start"]
    assert answers["start"]["error"].endswith("no such host in redis://**@cache/0")


def test_an_application_that_ends_the_process_is_an_answer(tmp_path: Path) -> None:
    assert ask(tmp_path, "raise SystemExit('no')") == {"start": {"error": "SystemExit: no"}}


# --- The broker's figures, on a Redis that is made up


@pytest.fixture(scope="module")
def module() -> Any:
    return source_module(SOURCE)


#: By how much Redis' clock is ahead of this machine's.
AHEAD = 500.0


class Redis:
    """The commands that are used, on a dictionary; keys are whole, as Redis has them."""

    def __init__(self, keys: dict[str, Any]) -> None:
        self.keys = keys

    def dbsize(self) -> int:
        return len(self.keys)

    def scan_iter(self, match: str, count: int) -> Iterator[bytes]:
        assert match.endswith("*")
        start = match[:-1].replace("\\", "")
        yield from (key.encode() for key in self.keys if key.startswith(start))

    def smembers(self, key: str) -> set[bytes]:
        return {member.encode() for member in self.keys.get(key, ())}

    def time(self) -> tuple[int, int]:
        now = time.time() + AHEAD
        return int(now), int(now % 1 * 1e6)

    def zcard(self, key: str) -> int:
        return len(self.keys.get(key, {}))

    def zrange(self, key: str, start: int, end: int, withscores: bool) -> list[tuple[bytes, float]]:
        assert withscores
        members = sorted(self.keys.get(key, {}).items(), key=lambda member: member[1])
        return [(name.encode(), score) for name, score in members[start : end + 1 or None]]

    def hmget(self, key: str, names: list[bytes]) -> list[bytes | None]:
        found = (self.keys[key].get(name.decode()) for name in names)
        return [None if value is None else json.dumps(value).encode() for value in found]

    def pipeline(self, transaction: bool) -> "Pipeline":
        assert not transaction, "a full Redis refuses MULTI"
        return Pipeline(self)

    def llen(self, key: str) -> int:
        return int(self.keys.get(key, 0))

    def lindex(self, key: str, index: int) -> bytes | None:
        assert index == -1, "BRPOP takes the last one first"
        found: bytes | None = self.keys.get(f"{key}[-1]")
        return found

    def hlen(self, key: str) -> int:
        return len(self.keys.get(key, {}))


class Pipeline:
    """Any of these commands, all asked at once."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.asked: list[Callable[[], Any]] = []

    def __getattr__(self, command: str) -> Any:
        def ask(*arguments: Any, **options: Any) -> None:
            self.asked.append(lambda: getattr(self.client, command)(*arguments, **options))

        return ask

    def execute(self) -> list[Any]:
        asked, self.asked = self.asked, []
        return [question() for question in asked]


def broker(module: Any, keys: dict[str, Any], prefix: str = "") -> Any:
    """Return a connection to a Redis with these keys; separators and key names are kombu's."""
    mailbox = SimpleNamespace(
        exchange=SimpleNamespace(name="celery.pidbox"),
        reply_exchange=SimpleNamespace(name="reply.celery.pidbox"),
    )
    app = SimpleNamespace(
        amqp=SimpleNamespace(queues={"declared": SimpleNamespace(exchange=SimpleNamespace(name="declared"))}),
        control=SimpleNamespace(mailbox=mailbox),
        conf=SimpleNamespace(event_exchange="celeryev"),
        timezone=timezone(timedelta(hours=2)),
    )
    found = object.__new__(module.Broker)
    found.app, found.is_redis, found.client, found.prefix = app, True, Redis(keys), prefix
    found.channel = SimpleNamespace(
        keyprefix_queue="_kombu.binding.%s",
        sep="\x06\x16",
        priority_steps=[0, 3, 6, 9],
        unacked_key="unacked",
        unacked_index_key="unacked_index",
    )
    return found


def bound(*parts: str) -> str:
    return "\x06\x16".join(parts)


def message(exchange: str, routing_key: str, **headers: Any) -> list[Any]:
    return [{"body": "…", "headers": headers}, exchange, routing_key]


def stored(prefix: str = "") -> dict[str, Any]:
    """Return the keys of a broker in use."""
    now = time.time() + AHEAD
    keys = {
        "_kombu.binding.default": [bound("default", "", "default"), bound("old", "", "renamed")],
        "_kombu.binding.topics": [bound("mail.#", "^mail(\\..*)?$", "mail")],
        "_kombu.binding.celeryev": [bound("worker.#", "", "celeryev.1")],
        "_kombu.binding.celery.pidbox": [bound("", "", "default@one.celery.pidbox")],
        "_kombu.binding.reply.celery.pidbox": [bound("x", "", "x.reply.celery.pidbox")],
        "default": 2,
        "default\x06\x163": 1,
        "default\x06\x169": 4,
        "default[-1]": json.dumps({"headers": {"rootstock_sent_at": now - 7}}).encode(),
        "default\x06\x169[-1]": json.dumps({"headers": {"rootstock_sent_at": now - 20}}).encode(),
        "renamed": 1,
        "renamed[-1]": b"no JSON",
        # An answer that nobody has fetched is no task.
        "x.reply.celery.pidbox": 1,
        # One of a worker without a hash of its own, the others of one with it.
        "unacked_index": {"one": now - 100},
        "unacked": {"one": message("topics", "mail.welcome")},
        "rootstock.holders": ["default.aaaaaaaa@one|1:2|3|4", "mail.aaaaaaaa@two|5:6|7|8"],
        "rootstock.holders_seen": {"default.aaaaaaaa@one|1:2|3|4": now - 8, "of.a.dead@one|0|0|0": now - 900},
        "unacked_index.default.aaaaaaaa@one|1:2|3|4": {"two": now - 50, "three": now - 10, "gone": now - 5},
        "unacked.default.aaaaaaaa@one|1:2|3|4": {
            "two": message("default", "default"),
            "three": message("default", "default"),
        },
        "rootstock.dead_letters": {"0123456789ab": "{}"},
    }
    return {f"{prefix}{key}": value for key, value in keys.items()}


EXPECTED = [
    ("default", 7, 20, 2, 50),
    ("empty", 0, None, 0, None),
    ("mail", 0, None, 1, 100),
    ("renamed", 1, None, 0, None),
]


@pytest.mark.parametrize("prefix", ["", "shop:", "shop[1]:"])
def test_queues_are_counted_with_their_priorities_and_unacknowledged_messages(
    module: Any, prefix: str
) -> None:
    found = broker(module, stored(prefix), prefix).queues({"default", "empty"})
    figures = [
        (q["name"], q["waiting"], waits and round(waits), q["unacknowledged"], age and round(age))
        for q in found["queues"]
        for waits, age in [(q["oldest_waiting"], q["oldest_unacknowledged"])]
    ]
    assert (found["unacknowledged"], found["dead_letters"], figures) == (4, 1, EXPECTED)


def test_keys_of_another_prefix_are_not_counted(module: Any) -> None:
    assert broker(module, stored("other:"), "shop:").queues(set()) == {
        "unacknowledged": 0,
        "dead_letters": 0,
        "longest_call_time_limit": 0,
        "holders": [
            {
                "node": "",
                "machine": "",
                "unacknowledged": 0,
                "oldest_unacknowledged": None,
                "oldest_due": None,
                "task": "",
                "seen": None,
            }
        ],
        "queues": [],
    }


def rounded(figures: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(round(value) if isinstance(value, float) else value for value in figures.values())


@pytest.mark.parametrize("prefix", ["", "shop:"])
def test_holders_are_told_with_their_ages_by_the_clock_of_redis(module: Any, prefix: str) -> None:
    found = broker(module, stored(prefix), prefix).queues(set())
    assert [rounded(holder) for holder in found["holders"]] == [
        ("", "", 1, 100, 100, "", None),
        ("default.aaaaaaaa@one", "1:2", 3, 50, 50, "", 8),
        # Of an older package, and it holds nothing.
        ("mail.aaaaaaaa@two", "5:6", 0, None, None, "", None),
    ]


def held(module: Any, **messages: tuple[float, dict[str, Any]]) -> dict[str, Any]:
    """Return what is told of a worker that holds messages: by tag the age and the headers of each."""
    name = "a|strange@one|1:2|3|4"
    now = time.time() + AHEAD
    keys = {
        "rootstock.holders": [name],
        f"unacked_index.{name}": {tag: now - age for tag, (age, _) in messages.items()},
        f"unacked.{name}": {tag: message("", "x", **headers) for tag, (_, headers) in messages.items()},
    }
    found: dict[str, Any] = broker(module, keys).queues(set())
    assert (found["holders"][1]["node"], found["holders"][1]["unacknowledged"]) == (
        "a|strange@one",
        len(messages),
    )
    return found


def after(seconds: float, zone: timezone | None = UTC) -> str:
    """The ETA so many seconds after now, as Celery writes it."""
    moment = datetime.fromtimestamp(time.time() + AHEAD + seconds, zone or timezone(timedelta(hours=2)))
    return (moment if zone else moment.replace(tzinfo=None)).isoformat()


# The messages of a worker (age, headers); since when the oldest could be run, and of which task it is.
DUE: list[tuple[dict[str, tuple[float, dict[str, Any]]], int | None, str]] = [
    ({"a": (400, {"task": "pay"}), "b": (500, {"task": "mail"})}, 500, "mail"),
    ({"a": (400, {"task": "pay"}), "b": (500, {"task": "mail", "eta": partial(after, 60)})}, 400, "pay"),
    ({"b": (500, {"task": "mail", "eta": partial(after, 60)})}, None, ""),
    ({"b": (500, {"task": "mail", "eta": partial(after, -70)})}, 70, "mail"),
    # What was taken first was not due first.
    ({"a": (300, {"task": "pay"}), "b": (500, {"task": "mail", "eta": partial(after, -70)})}, 300, "pay"),
    # Taken after its ETA, because the queue was long.
    ({"b": (500, {"task": "mail", "eta": partial(after, -900)})}, 500, "mail"),
    # Without a time zone it is in that of the application.
    ({"b": (500, {"task": "mail", "eta": partial(after, -70, None)})}, 70, "mail"),
    ({"b": (500, {"task": "mail", "eta": partial(after, 60, timezone(timedelta(hours=-7)))})}, None, ""),
    ({"b": (500, {"task": "mail", "eta": None})}, 500, "mail"),
    ({"b": (500, {"task": "mail", "eta": "soon"})}, 500, "mail"),
]


@pytest.mark.parametrize(("messages", "due", "task"), DUE)
def test_a_message_counts_from_its_eta(module: Any, messages: Any, due: int | None, task: str) -> None:
    # An ETA that was reckoned when this module was loaded would be long ago on a busy machine.
    now = {
        tag: (age, {name: value() if callable(value) else value for name, value in headers.items()})
        for tag, (age, headers) in messages.items()
    }
    (_, holder) = held(module, **now)["holders"]
    assert holder["oldest_due"] == (due if due is None else pytest.approx(due, abs=20))
    assert holder["task"] == task


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"timelimit": [7200, 60]}, 7200), ({"timelimit": [None, None]}, 0), ({"timelimit": []}, 0), ({}, 0)],
)
def test_a_call_may_have_a_time_limit_of_its_own(module: Any, headers: Any, seconds: float) -> None:
    assert held(module, a=(10, headers))["longest_call_time_limit"] == seconds


def test_a_large_database_is_not_searched(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS_SEARCHED", 5)
    found = broker(module, stored()).queues({"default"})
    assert "renamed" not in [queue["name"] for queue in found["queues"]]


def test_beyond_the_messages_that_are_read_the_number_is_still_known(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MESSAGES_READ", 2)
    monkeypatch.setattr(module, "MESSAGES_AT_ONCE", 1)
    found = broker(module, stored()).queues(set())
    counted = {queue["name"]: queue["unacknowledged"] for queue in found["queues"]}
    assert (found["unacknowledged"], counted) == (4, {"default": 2, "mail": 1, "renamed": 0})


def test_a_message_of_an_unknown_exchange_is_counted_under_its_routing_key(module: Any) -> None:
    keys = {"unacked_index": {"one": time.time()}, "unacked": {"one": message("gone", "somewhere")}}
    (queue,) = broker(module, keys).queues(set())["queues"]
    assert (queue["name"], queue["unacknowledged"]) == ("somewhere", 1)
