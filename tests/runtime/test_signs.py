"""What a worker tells about itself, and what messages tell."""

import json
import os
import signal
import time

from conftest import Broker, Stage, wait_for


def test_the_heartbeat_says_that_an_idle_worker_consumes(stage: Stage) -> None:
    worker = stage.worker()
    wait_for(worker.heartbeat_file.exists, 10, "there is a file")
    first = wait_for(lambda: (found := worker.heartbeat())["polled"] and found, 10, "it has polled")
    second = wait_for(
        lambda: (found := worker.heartbeat())["polled"] > first["polled"] and found,
        10,
        "once more",
    )
    assert second["written"] > first["written"]
    assert second["loop"] > first["loop"]
    # Four seconds of waiting, and two until it is written.
    assert time.monotonic() - second["polled"] < 7
    assert second["pid"] == worker.process.pid
    assert (second["free"], second["connected"], second["stopping"]) == (True, True, False)
    assert second["queues"] == second["expected"] == ["one"]
    assert second["broker"] == ["127.0.0.1", stage.server.port]


def test_it_says_that_a_busy_worker_has_no_room(stage: Stage) -> None:
    worker = stage.worker(concurrency=1)
    stage.send("record", "busy", 8)
    wait_for(lambda: stage.begun("busy") == 1, 15, "it runs")
    wait_for(lambda: worker.heartbeat_file.exists() and not worker.heartbeat()["free"], 10, "it says so")
    wait_for(lambda: worker.heartbeat()["free"], 15, "it has room again")


def test_it_says_that_redis_is_away_and_back(stage: Stage, server: Broker) -> None:
    worker = stage.worker()
    wait_for(lambda: worker.heartbeat_file.exists() and worker.heartbeat()["polled"], 10, "it has polled")
    # Celery publishes a sign of life every two seconds, and stays there till Redis is back if that has gone.
    asked = server.client(0)
    asked.config_resetstat()
    wait_for(lambda: "cmdstat_publish" in asked.info("commandstats"), 10, "it has just published one")
    server.kill()
    wait_for(lambda: not worker.heartbeat()["connected"], 10, "it is not connected")
    written = worker.heartbeat()["written"]
    wait_for(lambda: worker.heartbeat()["written"] > written, 10, "it goes on writing")
    before = time.monotonic()
    server.start()
    wait_for(lambda: (worker.heartbeat()["polled"] or 0) > before, 20, "it polls again")
    assert worker.heartbeat()["connected"]


def test_it_tells_its_configuration_without_passwords(stage: Stage) -> None:
    stage.worker()
    for command in ("conf", "dump_conf", "report"):
        code = f"print(app.control.broadcast('{command}', reply=True, timeout=5, limit=1))"
        told = stage.python(f"from victim import app; {code}")
        assert "redis://cache:********@127.0.0.1" in told, command
        assert "not-for-all" not in told, command


def test_it_stops_with_the_process(stage: Stage) -> None:
    # Also an idle worker takes two seconds to end.
    worker = stage.worker(ROOTSTOCK_DRAIN_SECONDS="20")
    wait_for(lambda: worker.heartbeat_file.exists(), 10, "there is a file")
    os.kill(worker.process.pid, signal.SIGSTOP)
    written = worker.heartbeat()["written"]
    time.sleep(5)
    assert worker.heartbeat()["written"] == written
    os.kill(worker.process.pid, signal.SIGCONT)
    worker.stop()
    assert not worker.heartbeat_file.exists()


def test_it_says_which_queue_is_not_consumed(stage: Stage) -> None:
    worker = stage.worker()
    wait_for(lambda: worker.heartbeat_file.exists(), 10, "there is a file")
    stage.python("from victim import app; app.control.cancel_consumer('one', reply=True)")
    wait_for(lambda: worker.heartbeat()["queues"] == [], 10, "it consumes nothing")


def test_messages_say_when_they_were_published(stage: Stage) -> None:
    begun = time.time()
    stage.python(
        "from rootstock_worker import sent_at; sent_at.install();from victim import record; record.delay('x')"
    )
    headers = json.loads(stage.broker.lindex("one", 0))["headers"]
    assert begun <= headers["rootstock_sent_at"] <= time.time()
