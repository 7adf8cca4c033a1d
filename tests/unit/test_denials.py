"""What Redis refuses to an application during a deploy. Scenario `release` has it with a real Redis."""

import json
from pathlib import Path
from typing import Any

import pytest

from repository import source_module

LIVE, NEW = "keys", "flushall"


class Redis:
    """Stands for redis-cli: its ACL LOG, oldest refusal first, as (user, reason, object, seconds ago)."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "acl-log.json"
        self.calls = directory / "calls"
        self.denied()
        program = directory / "redis-cli"
        program.write_text(f'#!/bin/sh\necho "$* $REDISCLI_AUTH" >>{self.calls}\ncat {self.log}\n')
        program.chmod(0o755)

    def denied(self, *entries: tuple[str, str, str, float]) -> None:
        self.log.write_text(
            json.dumps(
                [
                    {"username": user, "reason": reason, "object": what, "age-seconds": str(age)}
                    for user, reason, what, age in entries
                ]
            )
        )


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Redis:
    found = Redis(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return found


@pytest.fixture
def denials(tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = source_module("roles/redis/files/denials.py")
    conf, cache = tmp_path / "redis.conf", tmp_path / "redis-cache.conf"
    conf.write_text("# a comment\nbind 127.0.0.1 -::1\nport 6379\n")
    (tmp_path / "env").write_text("# a comment\nREDIS_ADMIN_PASSWORD='the password'\n")
    monkeypatch.setattr(module, "CONFIGURATIONS", (str(conf), str(cache)))
    monkeypatch.setattr(module, "PASSWORDS", tmp_path / "env")
    return module


def test_what_is_refused_after_the_start_of_a_deploy_is_found(
    denials: Any, redis: Redis, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    denials.keep("shop", note, 1000)
    assert denials.compare("shop", note, 1030) == []
    redis.denied(("shop-app", "command", "keys", 12), ("shop-worker", "key", "lock", 3))
    assert denials.compare("shop", note, 1030) == [
        "app_redis_rules lacks +keys: Redis refused the command keys to its user shop-app during this "
        'deploy. Fix: write app_redis_rules: ["+keys"] into the inventory, then type make site '
        "(docs/tasks/redis-rights.md).",
        "app_redis_rules lacks ~lock: Redis refused the key lock to its user shop-worker during this deploy. "
        'Fix: write app_redis_rules: ["~lock"] into the inventory, then type make site '
        "(docs/tasks/redis-rights.md).",
    ]


def test_another_application_and_what_is_older_than_the_deploy_are_not_its_own(
    denials: Any, redis: Redis, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    denials.keep("shop", note, 1000)
    redis.denied(("shop-two-app", "command", "keys", 2), ("shop-app", "command", "keys", 45))
    assert denials.compare("shop", note, 1030) == []


def test_what_the_live_release_was_refused_before_does_not_stop_the_release_that_ends_it(
    denials: Any, redis: Redis, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    redis.denied(("shop-app", "command", LIVE, 100))
    denials.keep("shop", note, 1000)
    redis.denied(("shop-app", "command", LIVE, 2))
    assert denials.compare("shop", note, 1030) == []


def test_what_has_made_a_deploy_fail_makes_the_next_one_fail_too(
    denials: Any, redis: Redis, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    denials.keep("shop", note, 1000)
    redis.denied(("shop-app", "command", NEW, 2))
    assert len(denials.compare("shop", note, 1030)) == 1
    redis.denied(("shop-app", "command", NEW, 62))
    denials.keep("shop", note, 1090)
    redis.denied(("shop-app", "command", NEW, 3))
    assert len(denials.compare("shop", note, 1120)) == 1
    # And the deploy after it, in which nothing was refused, does not.
    denials.keep("shop", note, 1180)
    redis.denied(("shop-app", "command", NEW, 93))
    assert denials.compare("shop", note, 1210) == []


def test_a_refused_password_is_told_without_it(denials: Any, redis: Redis, tmp_path: Path) -> None:
    note = tmp_path / "note"
    denials.keep("shop", note, 1000)
    redis.denied(("shop-cache", "auth", "AUTH", 1))
    (told,) = denials.compare("shop", note, 1010)
    assert "password of its user shop-cache" in told


def test_every_instance_is_asked_and_the_password_is_no_argument(
    denials: Any, redis: Redis, tmp_path: Path
) -> None:
    certificate = "/etc/redis/tls/redis.crt"
    (tmp_path / "redis-cache.conf").write_text(
        f"bind -::1 10.0.0.2\nport 0\ntls-port 6380\ntls-cert-file {certificate}\n"
    )
    denials.keep("shop", tmp_path / "note", 1000)
    assert redis.calls.read_text().splitlines() == [
        "-h 127.0.0.1 -p 6379 --user admin --json ACL LOG 128 the password",
        f"-h ::1 -p 6380 --tls --cacert {certificate} --user admin --json ACL LOG 128 the password",
    ]


def test_a_redis_that_does_not_answer_is_an_error(
    denials: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "redis-cli").write_text("#!/bin/sh\necho 'Could not connect to Redis' >&2\nexit 1\n")
    assert denials.main("keep", "shop") == 1
    assert "Could not connect to Redis" in capsys.readouterr().err
