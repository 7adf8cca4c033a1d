"""The watchdog against a Supervisor that is simulated second by second: programs, and what fails."""

import fcntl
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulated_supervisor import STARTSECS, Program, Worker, World, refuse, watchdog, worker

Lines = Callable[[], list[str]]


def test_what_is_well_is_left_alone_and_not_spoken_of(heartbeats: Path, printed: Lines) -> None:
    world = World(heartbeats, web=Program(), default=Program(worker=Worker()))
    world.run(900)
    assert (world.calls, printed()) == ([], [])
    # Workers that are answered say themselves that the broker is there.
    assert world.asked == []


# --- Programs that do not run


def test_a_program_that_was_given_up_is_started_every_15_s_until_it_runs(
    heartbeats: Path, printed: Lines
) -> None:
    world = World(heartbeats, web=Program(state="FATAL"))
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
def test_what_a_person_stopped_or_supervisor_sees_to_is_left_alone(heartbeats: Path, state: str) -> None:
    world = World(heartbeats, web=Program(state=state))
    world.live = lambda *_: None  # type: ignore[method-assign]
    world.run(120)
    assert world.calls == []


@pytest.mark.parametrize("state", ["FATAL", "BACKOFF", "RUNNING"])
def test_a_program_that_no_file_names_drains_undisturbed(heartbeats: Path, state: str) -> None:
    old = Program(state=state, named=False, attempts=600, worker=Worker(polled_until=0, loop_until=0))
    world = World(heartbeats, old=old)
    world.run(300)
    assert world.calls == []


def test_a_long_wait_ends_within_15_s_after_the_cause(heartbeats: Path, printed: Lines) -> None:
    web = Program(state="BACKOFF", attempts=120, fails=True)
    world = World(heartbeats, web=web)
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


def test_short_waits_are_supervisors(heartbeats: Path) -> None:
    world = World(heartbeats, web=Program(state="BACKOFF", attempts=0, fails=True))
    world.run(40)
    assert world.programs["web"].attempts >= 4
    assert world.calls == []


def test_what_was_stopped_for_a_start_that_was_refused_is_owed_one(heartbeats: Path, printed: Lines) -> None:
    web = Program(state="BACKOFF", attempts=120)
    world = World(heartbeats, web=web)
    start, world.startProcess = world.startProcess, refuse("NO_FILE")  # type: ignore[method-assign]
    world.run(20)
    assert web.state == "STOPPED"
    world.startProcess = start  # type: ignore[method-assign]
    world.run(30)
    assert web.state == "RUNNING"
    assert "web: Supervisor refuses: NO_FILE" in printed()


def test_what_somebody_else_was_faster_to_stop_stays_stopped(heartbeats: Path) -> None:
    web = Program(state="BACKOFF", attempts=120)
    world = World(heartbeats, web=web)
    stop = world.stopProcess

    def race(name: str, wait: bool) -> Any:
        web.state = "STOPPED"
        stop(name, wait)

    world.stopProcess = race  # type: ignore[method-assign]
    world.run(120)
    assert (web.state, world.calls) == ("STOPPED", [])


def test_what_a_person_stopped_has_not_recovered_when_he_starts_it(heartbeats: Path, printed: Lines) -> None:
    world = World(heartbeats, web=Program(state="FATAL"))
    world.run(5)
    world.programs["web"].state = "STOPPED"
    world.run(60)
    world.startProcess("web", False)
    world.run(60)
    assert printed() == ["web: FATAL, Exited too quickly; starting it"]


def test_nothing_is_started_while_supervisor_apply_works(heartbeats: Path) -> None:
    world = World(heartbeats, web=Program(state="FATAL"), late=Program(state="BACKOFF", attempts=120))
    with watchdog.LOCK_FILE.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        world.run(60)
        assert world.calls == []
    world.run(10)
    assert {name for _, call, name in world.calls if call == "start"} == {"web", "late"}


# --- What fails


def test_a_supervisor_that_does_not_answer_is_waited_for(heartbeats: Path, printed: Lines) -> None:
    world = World(heartbeats, web=Program(state="FATAL"))
    world.down = True
    world.run(120)
    assert printed() == ["Supervisor does not answer: ConnectionRefusedError('refused')"]
    world.down = False
    world.run(5)
    assert world.times("start") == [1125]
    assert printed() == ["web: FATAL, Exited too quickly; starting it", "Supervisor answers again"]


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
def test_a_heartbeat_that_is_none_is_said_once(heartbeats: Path, printed: Lines, text: str) -> None:
    world = World(heartbeats, default=Program())
    (heartbeats / "shop").mkdir()
    (heartbeats / "shop/default.heartbeat").write_text(text)
    world.run(120)
    assert world.calls == []
    lines = printed()
    assert len(lines) == 1
    assert lines[0].startswith("default: its heartbeat cannot be read: ")


def test_links_and_pipes_do_not_lead_the_watchdog_astray(heartbeats: Path) -> None:
    (heartbeats / "shop").mkdir()
    (heartbeats / "real").write_text("no heartbeat")
    (heartbeats / "shop/link.heartbeat").symlink_to(heartbeats / "real")
    os.mkfifo(heartbeats / "shop/pipe.heartbeat")
    assert worker.read_heartbeat("link", os.getuid()) is None
    assert worker.read_heartbeat("pipe", os.getuid()) is None


def test_a_line_stays_one_line(printed: Lines) -> None:
    watchdog.say("queue a\nb is not consumed")
    assert printed() == ["queue a b is not consumed"]
