"""The watchdog against workers that are simulated second by second: who is ill, and how it is healed."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulated_supervisor import NEVER, Program, Worker, World, refuse

Lines = Callable[[], list[str]]


# --- Workers that are ill

STANDS_STILL = Worker(written_until=1000)
LOOP_STANDS_STILL = Worker(loop_until=1000)
CONSUMES_NOTHING = Worker(polled_until=1000)
NEVER_CONSUMED = Worker(never_polled=True)
NEVER_CONNECTS = Worker(connected=False, polled_until=1000, queues=[])
LACKS_A_QUEUE = Worker(queues=[])
ILL = {
    "stands still": (STANDS_STILL, 60, "no heartbeat for 65 s: the process stands still"),
    "loop stands still": (LOOP_STANDS_STILL, 60, "no turn of the event loop for 65 s: it stands still"),
    "consumes nothing": (
        CONSUMES_NOTHING,
        30,
        "connected with room for tasks, no request for tasks answered for 35 s, while the broker has "
        "answered for 30 s: it is alive but does not consume",
    ),
    "never consumed": (
        NEVER_CONSUMED,
        30,
        "connected with room for tasks, no request for tasks answered for 30 s, while the broker has "
        "answered for 30 s: it is alive but does not consume",
    ),
    "never connects": (
        NEVER_CONNECTS,
        45,
        "not connected, no request for tasks answered for 50 s, while the broker has answered for 45 s: "
        "it is alive but does not consume",
    ),
    "lacks a queue": (LACKS_A_QUEUE, 30, "queue default is not consumed for 30 s"),
}
every_illness = pytest.mark.parametrize(("ill", "limit", "seen"), ILL.values(), ids=ILL)


def copy(it: Worker, **changes: Any) -> Worker:
    return Worker(**{**it.__dict__, **changes})


@every_illness
def test_an_ill_worker_is_told_to_stop_and_the_next_one_is_well(
    heartbeats: Path, printed: Lines, ill: Worker, limit: float, seen: str
) -> None:
    world = World(heartbeats, default=Program(worker=copy(ill), next=Worker(), ends_after=2))
    # The heartbeat of a process that stands still was written before it did.
    world.write("default", world.programs["default"], Worker())
    world.run(limit + 60)
    assert [call for _, call, _ in world.calls] == ["TERM"]
    assert limit <= world.times("TERM")[0] - 1000 <= limit + 10
    lines = printed()
    assert lines[0] == f"default: {seen}; restart 1 of 3 in 15 min; SIGTERM to pid 100"
    assert re.fullmatch(r"default: recovered after \d+ s", lines[1])
    assert len(lines) == 2


@every_illness
def test_a_worker_that_stops_is_not_judged(heartbeats: Path, ill: Worker, limit: float, seen: str) -> None:
    world = World(heartbeats, default=Program(worker=copy(ill, stopping=True)))
    world.write("default", world.programs["default"], Worker(stopping=True))
    world.run(300)
    assert world.calls == []


@every_illness
def test_the_file_of_another_process_is_not_judged(
    heartbeats: Path, ill: Worker, limit: float, seen: str
) -> None:
    world = World(heartbeats, default=Program(worker=copy(ill), pid_in_file=4711))
    world.write("default", world.programs["default"], Worker())
    world.run(300)
    assert world.calls == []


@every_illness
def test_a_file_that_another_user_wrote_is_not_judged(
    heartbeats: Path, monkeypatch: pytest.MonkeyPatch, ill: Worker, limit: float, seen: str
) -> None:
    world = World(heartbeats, default=Program(worker=copy(ill)))
    world.write("default", world.programs["default"], Worker())
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    world.run(300)
    assert world.calls == []


@pytest.mark.parametrize(
    "ill", [LOOP_STANDS_STILL, CONSUMES_NOTHING, NEVER_CONSUMED, NEVER_CONNECTS, LACKS_A_QUEUE]
)
def test_nothing_is_restarted_while_the_broker_does_not_answer(
    heartbeats: Path, printed: Lines, ill: Worker
) -> None:
    it = copy(ill, polled_until=1000)
    world = World(heartbeats, default=Program(worker=it, next=Worker()))
    world.broker_answers = False
    world.run(600)
    assert world.calls == []
    assert printed() == ["broker 127.0.0.1:6379 does not answer: workers are left alone"]
    world.broker_answers = True
    world.run(30)
    assert (world.calls, printed()) == ([], ["broker 127.0.0.1:6379 answers again"])
    world.run(30)
    assert [call for _, call, _ in world.calls] == ["TERM"]


def test_a_broker_that_answers_now_and_then_does_not_count(heartbeats: Path) -> None:
    world = World(heartbeats, default=Program(worker=copy(CONSUMES_NOTHING)))
    for _ in range(20):
        world.broker_answers = not world.broker_answers
        world.run(20)
    assert world.calls == []


def test_a_process_that_stands_still_is_healed_without_a_broker(heartbeats: Path) -> None:
    world = World(heartbeats, default=Program(worker=copy(STANDS_STILL, broker=None)))
    world.write("default", world.programs["default"], Worker(broker=None))
    world.run(80)
    assert [call for _, call, _ in world.calls] == ["TERM"]


def test_where_the_broker_is_not_known_nobody_can_say_that_it_answers(heartbeats: Path) -> None:
    world = World(heartbeats, default=Program(worker=copy(CONSUMES_NOTHING, broker=None)))
    world.run(300)
    assert world.calls == []


def test_a_worker_without_room_rightly_asks_for_nothing(heartbeats: Path) -> None:
    it = copy(CONSUMES_NOTHING, free=False)
    world = World(heartbeats, default=Program(worker=it))
    world.run(600)
    it.free = True
    world.run(25)
    it.polled_until = NEVER
    world.run(60)
    assert world.calls == []


def test_a_worker_that_connects_at_last_is_given_the_time_to_ask(heartbeats: Path) -> None:
    it = copy(NEVER_CONNECTS)
    world = World(heartbeats, default=Program(worker=it))
    world.run(44)
    it.connected, it.queues = True, ["default"]
    world.run(25)
    it.polled_until = NEVER
    world.run(60)
    assert world.calls == []


def test_an_event_loop_that_has_not_begun_is_no_loop_that_stands_still(heartbeats: Path) -> None:
    world = World(heartbeats, default=Program(worker=Worker()))
    write = world.write

    def without_loop(name: str, program: Program, it: Worker) -> None:
        write(name, program, it)
        file = heartbeats / f"shop/{name}.heartbeat"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"loop": None}))

    world.write = without_loop  # type: ignore[method-assign]
    world.run(300)
    assert world.calls == []


def test_a_queue_that_comes_within_30_s_is_no_illness(heartbeats: Path) -> None:
    it = copy(LACKS_A_QUEUE)
    world = World(heartbeats, default=Program(worker=it))
    for _ in range(10):
        it.queues = []
        world.run(25)
        it.queues = ["default"]
        world.run(10)
    assert world.calls == []


def test_a_host_that_stood_still_gives_its_workers_a_moment(heartbeats: Path) -> None:
    it = Worker()
    world = World(heartbeats, default=Program(worker=it))
    world.run(60)
    world.now += 3600
    # The watchdog wakes up before the worker does.
    world.watchdog.look()
    # Its connection has died meanwhile.
    it.polled_until = 1060
    world.run(25)
    it.polled_until = NEVER
    world.run(60)
    assert world.calls == []


# --- The healing


def test_a_worker_that_finishes_its_tasks_is_not_killed(heartbeats: Path) -> None:
    world = World(heartbeats, default=Program(worker=copy(CONSUMES_NOTHING), next=Worker(), ends_after=540))
    world.run(900)
    assert [call for _, call, _ in world.calls] == ["TERM"]


def test_a_worker_that_does_not_stop_is_killed_after_30_s(heartbeats: Path, printed: Lines) -> None:
    ill = Program(worker=copy(CONSUMES_NOTHING), next=Worker(), ends_after=None)
    world = World(heartbeats, default=ill)
    world.run(120)
    assert [call for _, call, _ in world.calls] == ["TERM", "KILL"]
    assert world.times("KILL")[0] - world.times("TERM")[0] == 30
    assert "default: it still runs 30 s after SIGTERM; SIGKILL to pid 100" in printed()


def test_what_sigkill_does_not_end_is_killed_once(heartbeats: Path) -> None:
    world = World(heartbeats, default=Program(worker=copy(CONSUMES_NOTHING), ends_after=None))
    world.succeed = lambda program: None  # type: ignore[method-assign]
    world.run(600)
    assert [call for _, call, _ in world.calls] == ["TERM", "KILL"]


def test_a_stop_that_takes_longer_than_any_may_is_ended(heartbeats: Path) -> None:
    world = World(heartbeats, default=Program(worker=copy(CONSUMES_NOTHING), next=Worker(), ends_after=9000))
    world.run(700)
    assert [call for _, call, _ in world.calls] == ["TERM", "KILL"]
    assert world.times("KILL")[0] - world.times("TERM")[0] == 600


@pytest.mark.parametrize("change", [{"state": "STOPPING"}, {"pid": 4711}], ids=["stopped", "another process"])
def test_who_has_been_stopped_meanwhile_gets_no_signal(heartbeats: Path, change: dict[str, Any]) -> None:
    program = Program(worker=copy(CONSUMES_NOTHING))
    world = World(heartbeats, default=program)
    world.broker_answers = False
    world.run(600)

    def late_answer(_: tuple[str, int]) -> bool:
        if world.now >= 1635:
            program.__dict__.update(change)
        return True

    world.watchdog.ping = late_answer
    world.run(45)
    assert world.calls == []


def test_three_healings_in_15_min_are_enough(heartbeats: Path, printed: Lines) -> None:
    world = World(heartbeats, default=Program(worker=copy(NEVER_CONSUMED)))
    world.run(890)
    terms = world.times("TERM")
    assert len(terms) == 3
    lines = [line for line in printed() if "given up" in line]
    assert len(lines) == 1
    left = re.match(r"default: given up after 3 restarts, left alone for (\d+) s: connected with", lines[0])
    assert left
    world.run(terms[0] + 900 - world.now)
    assert len(world.times("TERM")) == 4
    # The next round ends with a line of its own.
    world.run(900)
    assert len([line for line in printed() if "given up" in line]) > 0
    assert all(c - a >= 900 for a, c in zip(world.times("TERM"), world.times("TERM")[3:], strict=False))


def test_a_program_given_up_says_so_when_it_recovers_by_itself(heartbeats: Path, printed: Lines) -> None:
    it = copy(NEVER_CONSUMED)
    world = World(heartbeats, default=Program(worker=it))
    world.run(300)
    printed()
    it.never_polled = False
    world.run(30)
    lines = printed()
    assert len(lines) == 1
    assert re.fullmatch(r"default: recovered after \d+ s", lines[0])


def test_another_program_has_a_count_of_its_own(heartbeats: Path) -> None:
    world = World(
        heartbeats,
        a=Program(worker=copy(NEVER_CONSUMED)),
        b=Program(worker=copy(NEVER_CONSUMED)),
    )
    world.run(600)
    assert [sum(name == program for _, _, name in world.calls) for program in ("a", "b")] == [3, 3]


def test_a_signal_that_supervisor_refuses_is_no_end(heartbeats: Path, printed: Lines) -> None:
    world = World(heartbeats, a=Program(worker=copy(CONSUMES_NOTHING)), b=Program(state="FATAL"))
    world.signalProcess = refuse("NOT_RUNNING: a")  # type: ignore[method-assign]
    world.run(60)
    assert world.programs["b"].state == "RUNNING"
    assert "a: Supervisor refuses: NOT_RUNNING: a" in printed()
