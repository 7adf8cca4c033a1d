"""What no worker can run is kept and shown, and the worker lives."""

import json
import os
import pickle
import signal
from base64 import b64decode

from conftest import Stage, wait_for

ENVELOPE = {
    "body": "W10=",
    "content-encoding": "utf-8",
    "content-type": "application/json",
    "headers": {"lang": "py", "task": "victim.record", "id": "1"},
    "properties": {
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": "one"},
        "delivery_tag": "tag",
    },
}


def without(*path: str) -> str:
    """The envelope without a field."""
    found = json.loads(json.dumps(ENVELOPE))
    place = found
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return json.dumps(found)


MALFORMED = {
    "no JSON": "not json at all",
    "cut": json.dumps(ENVELOPE)[:-20],
    "bytes": pickle.dumps({"a": 1}),
    "a list": "[]",
    "nested too deep": "[" * 100_000 + "]" * 100_000,
    "a number": "1",
    "null": "null",
    "empty": "",
    "no properties": without("properties"),
    "no delivery_tag": without("properties", "delivery_tag"),
    "no delivery_info": without("properties", "delivery_info"),
    "no routing_key": without("properties", "delivery_info", "routing_key"),
    "headers a list": json.dumps({**ENVELOPE, "headers": []}),
    "body a number": json.dumps({**ENVELOPE, "body": 7}),
    "body no base64": json.dumps({**ENVELOPE, "body": "a"}),
    "an encoding nobody knows": json.dumps(
        {**ENVELOPE, "properties": {**ENVELOPE["properties"], "body_encoding": "rot13"}}  # type: ignore[dict-item]
    ),
}


def original(record: dict[str, str]) -> bytes:
    """What stood in the queue, as a dead letter's record keeps it."""
    return record["text"].encode() if "text" in record else b64decode(record["base64"])


def test_what_is_no_message_is_kept_and_the_worker_goes_on(stage: Stage) -> None:
    # Two, which see the same entries.
    workers = [stage.worker(), stage.worker("b")]
    for item in MALFORMED.values():
        stage.broker.lpush("one", item)
    stage.send("record", "next")
    wait_for(lambda: stage.done("next"), 15, "the next one is done")
    # The other worker may still be keeping one; who is first decides their order.
    wait_for(lambda: stage.broker.hlen("rootstock.dead_letters") == len(MALFORMED), 15, "all are kept")
    assert all(worker.process.poll() is None for worker in workers)
    letters = [line.split()[0] for line in stage.letters("list").splitlines()]
    records = [json.loads(stage.broker.hget("rootstock.dead_letters", letter) or "") for letter in letters]
    assert sorted(original(record) for record in records) == sorted(
        item if isinstance(item, bytes) else item.encode() for item in MALFORMED.values()
    )
    assert json.loads(stage.letters("show", letters[0]))["queue"] == "one"
    assert "no message" in stage.letters("replay", letters[0], status=1)
    assert "is not there" in stage.letters("drop", "unknown", status=1)
    stage.letters("drop", "all")
    assert stage.letters("list") == ""


def test_one_ends_a_worker_without_the_package(stage: Stage) -> None:
    """The control."""
    worker = stage.worker(hardened=False)
    stage.broker.lpush("one", "not json at all")
    wait_for(lambda: worker.process.poll() is not None, 20, "it ends")


def test_a_pickle_is_not_run_and_kept(stage: Stage) -> None:
    worker = stage.worker()
    envelope = {**ENVELOPE, "content-type": "application/x-python-serialize"}
    stage.broker.lpush("one", json.dumps(envelope))
    stage.send("record", "next")
    wait_for(lambda: stage.done("next"), 15, "the next one is done")
    assert worker.process.poll() is None
    wait_for(lambda: len(stage.letters("list").splitlines()) == 1, 5, "it is kept")


def test_a_task_that_this_release_does_not_have_is_kept_and_can_be_replayed(stage: Stage) -> None:
    stage.worker()
    stage.send("nobody_has_this", "x")
    wait_for(lambda: "nobody_has_this" in stage.letters("list"), 15, "it is kept")
    assert stage.broker.llen("one") == 0
    for worker in stage.workers:
        worker.stop()
    stage.letters("replay", "all")
    assert stage.letters("list") == ""
    assert stage.broker.llen("one") == 1


def test_a_task_that_kills_its_process_is_delivered_so_often_and_kept(stage: Stage) -> None:
    worker = stage.worker(ROOTSTOCK_MAX_DELIVERIES="3")
    stage.send("die", "poison")
    stage.send("record", "next")
    wait_for(lambda: "victim.die" in stage.letters("list"), 30, "it is kept")
    assert stage.begun("poison") == 3
    assert stage.held() == 0
    wait_for(lambda: stage.done("next"), 15, "the next one is done")
    assert worker.process.poll() is None
    # Its deliveries are counted anew.
    stage.letters("replay", "all")
    wait_for(lambda: stage.begun("poison") == 6, 30, "it is run as often again")


def test_a_task_whose_process_was_killed_from_outside_runs_again(stage: Stage) -> None:
    worker = stage.worker(ROOTSTOCK_MAX_DELIVERIES="3")
    stage.send("record", "unlucky", 3)
    wait_for(lambda: stage.begun("unlucky") == 1, 15, "it runs")
    for child in worker.children():
        os.kill(child, signal.SIGKILL)
    wait_for(lambda: stage.done("unlucky") == 1, 15, "it is done")
    assert stage.begun("unlucky") == 2


def test_without_the_package_the_death_of_a_child_loses_its_task(stage: Stage) -> None:
    """The control."""
    stage.worker(hardened=False)
    stage.send("die", "lost")
    wait_for(lambda: stage.begun("lost") == 1, 15, "it runs")
    wait_for(lambda: stage.held() == 0, 10, "it is acknowledged although it was not done")
