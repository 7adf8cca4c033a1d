"""The watchdog against a Supervisor and workers that are simulated second by second."""

import fcntl
import itertools
import json
import os
import re
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulated_supervisor import NEVER, STARTSECS, Program, Worker, World, watchdog, worker


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the heartbeats, and the lock beside it."""
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr(worker, "RUN_DIRECTORY", run)
    monkeypatch.setattr(watchdog, "LOCK_FILE", tmp_path / "lock")
    return run


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The lines since the last call."""
    return lambda: capsys.readouterr().out.splitlines()


Lines = Callable[[], list[str]]


def test_what_is_well_is_left_alone_and_not_spoken_of(directory: Path, printed: Lines) -> None:
    world = World(directory, web=Program(), default=Program(worker=Worker()))
    world.run(900)
    assert (world.calls, printed()) == ([], [])
    # Workers that are answered say themselves that the broker is there.
    assert world.asked == []


# --- Programs that do not run


def test_a_program_that_was_given_up_is_started_every_15_s_until_it_runs(
    directory: Path, printed: Lines
) -> None:
    world = World(directory, web=Program(state="FATAL"))
    world.run(5)
    assert world.times("start") == [1005]
    world.programs["web"].state = "FATAL"
    world.run(12)
    assert world.times("start") == [1005]
    world.run(60)
    assert world.times("start") == [1005, 1020]
    assert printed() == [
        "web: FATAL, Exited too quickly; starting it",
        "web: FATAL, Exited too quickly; starting it",
        "web: recovered after 25 s",
    ]


@pytest.mark.parametrize("state", ["STOPPED", "STARTING", "STOPPING", "EXITED"])
def test_what_a_person_stopped_and_what_supervisor_sees_to_is_left_alone(directory: Path, state: str) -> None:
    world = World(directory, web=Program(state=state))
    world.live = lambda *_: None  # type: ignore[method-assign]
    world.run(120)
    assert world.calls == []


@pytest.mark.parametrize("state", ["FATAL", "BACKOFF", "RUNNING"])
def test_a_program_that_no_file_names_drains_undisturbed(directory: Path, state: str) -> None:
    old = Program(state=state, named=False, attempts=600, worker=Worker(polled_until=0, loop_until=0))
    world = World(directory, old=old)
    world.run(300)
    assert world.calls == []


def test_a_long_wait_ends_within_15_s_after_the_cause(directory: Path, printed: Lines) -> None:
    web = Program(state="BACKOFF", attempts=120, fails=True)
    world = World(directory, web=web)
    world.run(300)
    attempts = world.times("start")
    assert attempts == world.times("stop")
    assert {15 <= b - a <= 20 for a, b in itertools.pairwise(attempts)} == {True}
    web.fails, cause_gone = False, world.now
    world.run(30)
    assert web.state == "RUNNING"
    assert web.since - cause_gone <= 15 + STARTSECS
    seen = r"1\d s since the last attempt and the wait grows with each"
    assert re.fullmatch(f"web: BACKOFF, Exited too quickly, {seen}; starting it", printed()[1])


def test_short_waits_are_supervisors(directory: Path) -> None:
    world = World(directory, web=Program(state="BACKOFF", attempts=0, fails=True))
    world.run(40)
    assert world.programs["web"].attempts >= 4
    assert world.calls == []


def test_what_was_stopped_for_a_start_that_was_refused_is_owed_one(directory: Path, printed: Lines) -> None:
    web = Program(state="BACKOFF", attempts=120)
    world = World(directory, web=web)
    start, world.startProcess = world.startProcess, refuse("NO_FILE")  # type: ignore[method-assign]
    world.run(20)
    assert web.state == "STOPPED"
    world.startProcess = start  # type: ignore[method-assign]
    world.run(30)
    assert web.state == "RUNNING"
    assert "web: Supervisor refuses: NO_FILE" in printed()


def test_what_somebody_else_was_faster_to_stop_stays_stopped(directory: Path) -> None:
    web = Program(state="BACKOFF", attempts=120)
    world = World(directory, web=web)
    stop = world.stopProcess

    def race(name: str, wait: bool) -> Any:
        web.state = "STOPPED"
        stop(name, wait)

    world.stopProcess = race  # type: ignore[method-assign]
    world.run(120)
    assert (web.state, world.calls) == ("STOPPED", [])


def test_what_a_person_stopped_has_not_recovered_when_he_starts_it(directory: Path, printed: Lines) -> None:
    world = World(directory, web=Program(state="FATAL"))
    world.run(5)
    world.programs["web"].state = "STOPPED"
    world.run(60)
    world.startProcess("web", False)
    world.run(60)
    assert printed() == ["web: FATAL, Exited too quickly; starting it"]


def refuse(text: str) -> Callable[..., Any]:
    """A method of Supervisor's that fails."""

    def call(*_: object) -> Any:
        raise xmlrpc.client.Fault(20, text)

    return call


def test_nothing_is_started_while_supervisor_apply_works(directory: Path) -> None:
    world = World(directory, web=Program(state="FATAL"), late=Program(state="BACKOFF", attempts=120))
    with watchdog.LOCK_FILE.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        world.run(60)
        assert world.calls == []
    world.run(10)
    assert {name for _, call, name in world.calls if call == "start"} == {"web", "late"}


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
    directory: Path, printed: Lines, ill: Worker, limit: float, seen: str
) -> None:
    world = World(directory, default=Program(worker=copy(ill), next=Worker(), ends_after=2))
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
def test_a_worker_that_stops_is_not_judged(directory: Path, ill: Worker, limit: float, seen: str) -> None:
    world = World(directory, default=Program(worker=copy(ill, stopping=True)))
    world.write("default", world.programs["default"], Worker(stopping=True))
    world.run(300)
    assert world.calls == []


@every_illness
def test_the_file_of_another_process_is_not_judged(
    directory: Path, ill: Worker, limit: float, seen: str
) -> None:
    world = World(directory, default=Program(worker=copy(ill), pid_in_file=4711))
    world.write("default", world.programs["default"], Worker())
    world.run(300)
    assert world.calls == []


@every_illness
def test_a_file_that_another_user_wrote_is_not_judged(
    directory: Path, monkeypatch: pytest.MonkeyPatch, ill: Worker, limit: float, seen: str
) -> None:
    world = World(directory, default=Program(worker=copy(ill)))
    world.write("default", world.programs["default"], Worker())
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    world.run(300)
    assert world.calls == []


@pytest.mark.parametrize(
    "ill", [LOOP_STANDS_STILL, CONSUMES_NOTHING, NEVER_CONSUMED, NEVER_CONNECTS, LACKS_A_QUEUE]
)
def test_nothing_is_restarted_while_the_broker_does_not_answer(
    directory: Path, printed: Lines, ill: Worker
) -> None:
    it = copy(ill, polled_until=1000)
    world = World(directory, default=Program(worker=it, next=Worker()))
    world.broker_answers = False
    world.run(600)
    assert world.calls == []
    assert printed() == ["broker 127.0.0.1:6379 does not answer: workers are left alone"]
    world.broker_answers = True
    world.run(30)
    assert (world.calls, printed()) == ([], ["broker 127.0.0.1:6379 answers again"])
    world.run(30)
    assert [call for _, call, _ in world.calls] == ["TERM"]


def test_a_broker_that_answers_now_and_then_does_not_count(directory: Path) -> None:
    world = World(directory, default=Program(worker=copy(CONSUMES_NOTHING)))
    for _ in range(20):
        world.broker_answers = not world.broker_answers
        world.run(20)
    assert world.calls == []


def test_a_process_that_stands_still_is_healed_without_a_broker(directory: Path) -> None:
    world = World(directory, default=Program(worker=copy(STANDS_STILL, broker=None)))
    world.write("default", world.programs["default"], Worker(broker=None))
    world.run(80)
    assert [call for _, call, _ in world.calls] == ["TERM"]


def test_where_the_broker_is_not_known_nobody_can_say_that_it_answers(directory: Path) -> None:
    world = World(directory, default=Program(worker=copy(CONSUMES_NOTHING, broker=None)))
    world.run(300)
    assert world.calls == []


def test_a_worker_without_room_rightly_asks_for_nothing(directory: Path) -> None:
    it = copy(CONSUMES_NOTHING, free=False)
    world = World(directory, default=Program(worker=it))
    world.run(600)
    it.free = True
    world.run(25)
    it.polled_until = NEVER
    world.run(60)
    assert world.calls == []


def test_a_worker_that_connects_at_last_is_given_the_time_to_ask(directory: Path) -> None:
    it = copy(NEVER_CONNECTS)
    world = World(directory, default=Program(worker=it))
    world.run(44)
    it.connected, it.queues = True, ["default"]
    world.run(25)
    it.polled_until = NEVER
    world.run(60)
    assert world.calls == []


def test_an_event_loop_that_has_not_begun_is_no_loop_that_stands_still(directory: Path) -> None:
    world = World(directory, default=Program(worker=Worker()))
    write = world.write

    def without_loop(name: str, program: Program, it: Worker) -> None:
        write(name, program, it)
        file = directory / f"shop/{name}.heartbeat"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"loop": None}))

    world.write = without_loop  # type: ignore[method-assign]
    world.run(300)
    assert world.calls == []


def test_a_queue_that_comes_within_30_s_is_no_illness(directory: Path) -> None:
    it = copy(LACKS_A_QUEUE)
    world = World(directory, default=Program(worker=it))
    for _ in range(10):
        it.queues = []
        world.run(25)
        it.queues = ["default"]
        world.run(10)
    assert world.calls == []


def test_a_host_that_stood_still_gives_its_workers_a_moment(directory: Path) -> None:
    it = Worker()
    world = World(directory, default=Program(worker=it))
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


def test_a_worker_that_finishes_its_tasks_is_not_killed(directory: Path) -> None:
    world = World(directory, default=Program(worker=copy(CONSUMES_NOTHING), next=Worker(), ends_after=540))
    world.run(900)
    assert [call for _, call, _ in world.calls] == ["TERM"]


def test_a_worker_that_does_not_stop_is_killed_after_30_s(directory: Path, printed: Lines) -> None:
    ill = Program(worker=copy(CONSUMES_NOTHING), next=Worker(), ends_after=None)
    world = World(directory, default=ill)
    world.run(120)
    assert [call for _, call, _ in world.calls] == ["TERM", "KILL"]
    assert world.times("KILL")[0] - world.times("TERM")[0] == 30
    assert "default: it still runs 30 s after SIGTERM; SIGKILL to pid 100" in printed()


def test_what_sigkill_does_not_end_is_killed_once(directory: Path) -> None:
    world = World(directory, default=Program(worker=copy(CONSUMES_NOTHING), ends_after=None))
    world.succeed = lambda program: None  # type: ignore[method-assign]
    world.run(600)
    assert [call for _, call, _ in world.calls] == ["TERM", "KILL"]


def test_a_stop_that_takes_longer_than_any_may_is_ended(directory: Path) -> None:
    world = World(directory, default=Program(worker=copy(CONSUMES_NOTHING), next=Worker(), ends_after=9000))
    world.run(700)
    assert [call for _, call, _ in world.calls] == ["TERM", "KILL"]
    assert world.times("KILL")[0] - world.times("TERM")[0] == 600


@pytest.mark.parametrize("change", [{"state": "STOPPING"}, {"pid": 4711}], ids=["stopped", "another process"])
def test_who_has_been_stopped_meanwhile_gets_no_signal(directory: Path, change: dict[str, Any]) -> None:
    program = Program(worker=copy(CONSUMES_NOTHING))
    world = World(directory, default=program)
    world.broker_answers = False
    world.run(600)

    def late_answer(_: tuple[str, int]) -> bool:
        if world.now >= 1635:
            program.__dict__.update(change)
        return True

    world.watchdog.ping = late_answer
    world.run(45)
    assert world.calls == []


def test_three_healings_in_15_min_are_enough(directory: Path, printed: Lines) -> None:
    world = World(directory, default=Program(worker=copy(NEVER_CONSUMED)))
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


def test_a_program_given_up_says_so_when_it_recovers_by_itself(directory: Path, printed: Lines) -> None:
    it = copy(NEVER_CONSUMED)
    world = World(directory, default=Program(worker=it))
    world.run(300)
    printed()
    it.never_polled = False
    world.run(30)
    lines = printed()
    assert len(lines) == 1
    assert re.fullmatch(r"default: recovered after \d+ s", lines[0])


def test_another_program_has_a_count_of_its_own(directory: Path) -> None:
    world = World(
        directory,
        a=Program(worker=copy(NEVER_CONSUMED)),
        b=Program(worker=copy(NEVER_CONSUMED)),
    )
    world.run(600)
    assert [sum(name == program for _, _, name in world.calls) for program in ("a", "b")] == [3, 3]


# --- What fails


def test_a_supervisor_that_does_not_answer_is_waited_for(directory: Path, printed: Lines) -> None:
    world = World(directory, web=Program(state="FATAL"))
    world.down = True
    world.run(120)
    assert printed() == ["Supervisor does not answer: ConnectionRefusedError('refused')"]
    world.down = False
    world.run(5)
    assert world.times("start") == [1125]
    assert printed() == ["web: FATAL, Exited too quickly; starting it", "Supervisor answers again"]


def test_a_signal_that_supervisor_refuses_is_no_end(directory: Path, printed: Lines) -> None:
    world = World(directory, a=Program(worker=copy(CONSUMES_NOTHING)), b=Program(state="FATAL"))
    world.signalProcess = refuse("NOT_RUNNING: a")  # type: ignore[method-assign]
    world.run(60)
    assert world.programs["b"].state == "RUNNING"
    assert "a: Supervisor refuses: NOT_RUNNING: a" in printed()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nothing",
        "{}",
        "[" * 60000,
        '{"pid": 1e999}',
        '{"pid": 100, "written": "x"}',
    ],
    ids=["empty", "list", "no JSON", "no fields", "deep", "infinite", "no time"],
)
def test_a_heartbeat_that_is_none_is_said_once(directory: Path, printed: Lines, text: str) -> None:
    world = World(directory, default=Program())
    (directory / "shop").mkdir()
    (directory / "shop/default.heartbeat").write_text(text)
    world.run(120)
    assert world.calls == []
    lines = printed()
    assert len(lines) == 1
    assert lines[0].startswith("default: its heartbeat cannot be read: ")


def test_links_and_pipes_do_not_lead_the_watchdog_astray(directory: Path) -> None:
    (directory / "shop").mkdir()
    (directory / "real").write_text("no heartbeat")
    (directory / "shop/link.heartbeat").symlink_to(directory / "real")
    os.mkfifo(directory / "shop/pipe.heartbeat")
    assert worker.read_heartbeat("link", os.getuid()) is None
    assert worker.read_heartbeat("pipe", os.getuid()) is None


def test_a_line_stays_one_line(printed: Lines) -> None:
    watchdog.say("queue a\nb is not consumed")
    assert printed() == ["queue a b is not consumed"]
