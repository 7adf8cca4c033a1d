"""The users of Redis that the role writes; the scenarios test that Redis takes them."""

import re

import pytest

from redis_users import acl, password, user

PURPOSES = ("app", "worker", "beat", "flower", "cache")
#: What empties, stops or reconfigures a Redis, or reads all of it.
DANGEROUS = {
    "flushall",
    "config",
    "keys",
    "shutdown",
    "debug",
    "acl",
    "save",
    "bgsave",
    "replicaof",
    "monitor",
    "swapdb",
}


def rules(text: str) -> dict[str, list[str]]:
    """The rules of each user."""
    return {line.split()[1]: line.split()[2:] for line in text.splitlines()}


def all_users(prefix: str = "") -> list[dict[str, object]]:
    return [user(purpose, prefix, database=0 if purpose == "cache" else 1) for purpose in PURPOSES]


def test_every_line_is_a_user_because_redis_takes_no_other() -> None:
    text = acl(all_users())
    assert all(line.startswith("user ") for line in text.splitlines())
    assert "  " not in text
    assert "\n\n" not in text


def test_no_password_is_written() -> None:
    text = acl(all_users())
    assert password("plain-app") not in text
    assert len(set(re.findall(r"#[0-9a-f]{64}", text))) == len(PURPOSES) + 2


@pytest.mark.parametrize("purpose", PURPOSES)
def test_only_named_commands_are_allowed(purpose: str) -> None:
    own = rules(acl([user(purpose)]))[f"plain-{purpose}"]
    allowed = {rule[1:].split("|")[0] for rule in own if rule.startswith("+")}
    assert "-@all" in own
    assert not allowed & DANGEROUS
    # Of the categories, those that are taken come before what is dangerous is taken away.
    assert "@all" not in allowed
    last = max(index for index, rule in enumerate(own) if rule.startswith("+@"))
    assert own.index("-@dangerous", last) > last


@pytest.mark.parametrize(
    ("purpose", "command"),
    [
        # How kombu before 5.7 looks for messages beyond the visibility timeout; make versions runs it.
        ("app", "zrevrangebyscore"),
        ("worker", "zrevrangebyscore"),
        ("flower", "zrevrangebyscore"),
        # Of Celery's client of results, when it has lost Redis.
        ("beat", "mget"),
        # In the script by which Celery from 5.7 on counts a chord.
        ("worker", "sismember"),
    ],
)
def test_what_other_versions_of_celery_ask_is_allowed(purpose: str, command: str) -> None:
    assert f"+{command}" in rules(acl([user(purpose)]))[f"plain-{purpose}"]


def test_the_cache_may_empty_its_own_database_only() -> None:
    def cache(database: int, instance: bool) -> list[str]:
        variables = {
            "redis_cache_enabled": instance,
            "__redis_acl_instance": "cache" if instance else "broker",
        }
        return rules(acl([user("cache", database=database)], **variables))["plain-cache"]

    assert {"+flushdb", "-select"} <= set(cache(0, instance=False))
    assert "+flushdb" not in cache(3, instance=False)
    assert "+flushdb" in cache(3, instance=True)
    assert "-select" not in cache(3, instance=True)


def test_the_instances_have_the_users_that_use_them() -> None:
    users = all_users()
    apart = rules(acl(users, redis_cache_enabled=True))
    cache = rules(acl(users, redis_cache_enabled=True, __redis_acl_instance="cache"))
    assert "plain-cache" not in apart
    assert "plain-worker" in apart
    assert {name for name in cache if name.startswith("plain-")} == {"plain-cache"}
    assert "plain-cache" in rules(acl(users))


def test_a_prefix_is_all_that_a_user_reaches() -> None:
    own = rules(acl(all_users("shop:")))["prefixed-worker"]
    assert [rule for rule in own if rule.startswith("~")] == ["~shop:*"]
    channels = [rule for rule in own if rule.startswith("&")]
    assert "&shop:/1.celery.pidbox" in channels
    # Of results and saved groups, also as Celery before 5.5 names them.
    results = {f"&shop:{mark}celery-{kind}-meta-*" for mark in ("", "_") for kind in ("task", "taskset")}
    assert results <= set(channels)
    assert all(channel.startswith("&shop:") for channel in channels)


def test_more_rules_come_last() -> None:
    own = rules(acl([user("app", "shop:", rules=["+hgetall", "~locks:*"])]))["prefixed-app"]
    assert own[-2:] == ["+hgetall", "~locks:*"]
    cache = rules(acl([user("cache", "shop:", rules=["+hgetall", "~locks:*"])]))["prefixed-cache"]
    assert "+hgetall" in cache
    assert "~locks:*" not in cache, "Redis takes no key beside all keys"


def test_another_rule_or_password_is_another_revision() -> None:
    def revision(*users: dict[str, object]) -> str:
        return next(name for name in rules(acl(list(users))) if name.startswith("revision-"))

    texts = [
        revision(user("app")),
        revision(user("app"), user("worker")),
        revision(user("app", password="another-one")),
    ]
    assert len(set(texts)) == 3
    assert revision(user("app")) == texts[0]


def test_in_a_set_there_is_a_user_for_each_who_asks_and_none_can_do_more() -> None:
    secrets = {f"redis_{name}_password": password(name) for name in ("sentinel", "replica", "check")}
    own = rules(acl([user("app")], redis_sentinel_enabled=True, **secrets))
    assert own["replica"][2:] == ["resetchannels", "-@all", "+psync", "+replconf", "+ping"]
    assert own["check"][2:] == ["resetchannels", "-@all", "+info"]
    # It moves the primary, and sees no key.
    assert not {rule for rule in own["sentinel"] if rule.startswith(("~", "+@"))}
    for name in ("replica", "check", "sentinel"):
        assert own[name][0] == "on"
        assert name not in rules(acl([user("app")]))
