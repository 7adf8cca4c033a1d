"""Each kombu from 5.3 on may do with Redis what it does, as each user that role redis writes.

After each test the fixture looks into Redis' ACL LOG, because a client may hide that it was refused.
"""

import os
import signal
import subprocess
import time
import urllib.request

import pytest

from conftest import HERE, Application, wait_for


def test_tasks_are_published_run_and_answered(application: Application) -> None:
    application.worker()
    application.do("publish")
    application.do("control")


@pytest.mark.parametrize("purpose", ["app", "worker", "flower"])
def test_what_a_dead_worker_held_is_given_back(application: Application, purpose: str) -> None:
    worker = application.worker()
    application.do("publish_hang")
    unacked = f"{application.prefix}unacked"
    wait_for(lambda: application.redis.ask("HLEN", unacked) == "1", 15, "the worker holds it")
    os.killpg(worker.pid, signal.SIGKILL)
    (tag,) = application.redis.ask("HKEYS", unacked).splitlines()
    application.redis.ask("ZADD", f"{application.prefix}unacked_index", "1", tag)
    application.do("restore", purpose)
    assert (application.redis.ask("HLEN", unacked), application.length()) == ("0", 1)


def test_a_result_is_read_after_connections_were_cut(application: Application) -> None:
    application.worker()
    command = [application.python, HERE / "versioned.py", "reconnect"]
    process = application.start("app", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == "published\n"
    for purpose in ("app", "worker"):
        application.redis.ask("CLIENT", "KILL", "USER", application.name(purpose))
    process.communicate("go on\n", timeout=60)
    assert process.returncode == 0, application.log("app").read_text()[-3000:]


def test_beat_goes_on_after_redis_was_away(application: Application) -> None:
    application.celery("beat", "beat", "--pidfile=", "--loglevel=INFO")
    wait_for(lambda: application.length() >= 2, 30, "beat has sent two tasks")
    application.redis.stop()
    # Longer than beat's next try, so that it sees that Redis is away.
    time.sleep(3)
    application.redis.start()
    wait_for(lambda: application.length() >= 2, 60, "beat has sent two more")


def test_flower_shows_workers_queues_and_tasks(application: Application) -> None:
    application.worker()
    port = application.redis.port + 1
    application.celery("flower", "flower", f"--port={port}", "--address=127.0.0.1", "--inspect_timeout=3000")

    def page(path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    wait_for(lambda: page("/healthcheck"), 60, "Flower answers")
    application.do("publish")
    wait_for(lambda: "celery@" in page("/workers"), 20, "Flower knows the worker")
    assert '"one"' in page("/api/queues/length")
    assert "one" in page("/broker")
    assert page("/api/workers?refresh=1")
    wait_for(lambda: "versioned.add" in page("/api/tasks?limit=5"), 20, "Flower knows the tasks")
    # What Flower asks regularly, it asks in this time, and so does kombu while it waits.
    time.sleep(5)
