"""What the readiness probe of workers says when Redis refuses something; Celery and redis-py are real."""

import os
import subprocess
from pathlib import Path

import pytest

import application
from repository import PROJECT

PASSWORD = "s3cret-of-redis"
# Nobody listens on port 1.
PROJECT_CODE = f"""
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError, NoPermissionError

app = Celery("project", broker="redis://shop-app:{PASSWORD}@127.0.0.1:1/1")


def refuse(**_):
    raise NoPermissionError(MESSAGE)


def wrap(**_):
    try:
        refuse()
    except NoPermissionError as error:
        raise OperationalError(str(error)) from error


"""
# Redis 7.0 and 7.2 say it in other words.
OLD = "this user has no permissions to run the 'zrevrangebyscore' command"
NEW = "User shop-app has no permissions to run the 'client|setname' command"


def ready(directory: Path, code: str, seconds: str = "30") -> subprocess.CompletedProcess[str]:
    (directory / "project.py").write_text(PROJECT_CODE + code)
    done = subprocess.run(
        [application.python(), "-", "project", '{"default": ["default"]}', seconds, "aaaaaaaa"],
        input=(PROJECT / "roles/celery/files/celery_ready.py").read_text(),
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert PASSWORD not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    ("how", "message", "rule", "what"),
    [
        ("wrap", OLD, "+zrevrangebyscore", "the command ZREVRANGEBYSCORE"),
        ("refuse", OLD, "+zrevrangebyscore", "the command ZREVRANGEBYSCORE"),
        ("refuse", NEW, "+client|setname", "the command CLIENT|SETNAME"),
        (
            "refuse",
            f"Command # 1 of pipeline caused error: {OLD}",
            "+zrevrangebyscore",
            "the command ZREVRANGEBYSCORE",
        ),
        (
            "refuse",
            "this user has no permissions to access one of the keys used as arguments",
            "~KEY",
            "a key",
        ),
        (
            "refuse",
            "this user has no permissions to access one of the channels used",
            "&CHANNEL",
            "a channel",
        ),
    ],
)
def test_what_redis_refuses_is_one_line_at_once(
    tmp_path: Path, how: str, message: str, rule: str, what: str
) -> None:
    done = ready(tmp_path, f"MESSAGE = {message!r}\napp.control.inspect = {how}\n")
    assert (done.returncode, done.stderr) == (
        1,
        f"app_redis_rules lacks {rule}: Redis refuses {what} to its user shop-app. "
        f'Fix: write app_redis_rules: ["{rule}"] into the inventory, then type make site '
        "(docs/tasks/redis-rights.md).\n",
    )


def test_a_broker_that_does_not_answer_is_waited_for(tmp_path: Path) -> None:
    done = ready(tmp_path, "app.conf.broker_connection_max_retries = 0\n", seconds="1")
    assert done.returncode == 1
    assert "worker pool default cannot be asked: the broker does not answer" in done.stderr
    assert "app_redis_rules" not in done.stderr


def test_another_error_is_not_hidden(tmp_path: Path) -> None:
    done = ready(tmp_path, "def fail(**_): raise ValueError('no')\napp.control.inspect = fail\n")
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: no\n")
