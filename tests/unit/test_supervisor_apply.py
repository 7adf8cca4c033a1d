"""supervisor-apply against a Supervisor that is simulated second by second."""

import importlib.util
import json
import sys
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from repository import PROJECT

SOURCE = PROJECT / "roles/supervisor/files/supervisor_apply.py"
SPEC = importlib.util.spec_from_file_location("supervisor_apply", SOURCE)
assert SPEC
assert SPEC.loader
apply = importlib.util.module_from_spec(SPEC)
sys.modules["supervisor_apply"] = apply
SPEC.loader.exec_module(apply)

STATES = {
    "STOPPED": 0,
    "STARTING": 10,
    "RUNNING": 20,
    "BACKOFF": 30,
    "STOPPING": 40,
    "EXITED": 100,
    "FATAL": 200,
}


@dataclass
class Program:
    """A program that is there: its stanza's version, and how it behaves."""

    version: int = 1
    state: str = "RUNNING"
    stops_after: float = 0.0
    crashes: str = ""
    since: float = 0.0
    log: str = "/nonexistent.log"


# The names of the methods are Supervisor's.
# ruff: noqa: N802
class Fake:
    """Supervisor's interface; `files` are the versions of the stanzas on disk."""

    def __init__(
        self, files: dict[str, int], active: dict[str, Program], crashes: Iterable[str] = ()
    ) -> None:
        self.files, self.active, self.crashes = files, active, set(crashes)
        self.now = 0.0
        self.calls: list[tuple[float, str, str]] = []

    def note(self, call: str, name: str) -> None:
        self.calls.append((self.now, call, name))

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for name, program in self.active.items():
            if program.state == "STOPPING" and self.now - program.since >= program.stops_after:
                program.state = "STOPPED"
            elif program.state == "STARTING" and self.now - program.since >= 2:
                program.state = program.crashes or ("BACKOFF" if name in self.crashes else "RUNNING")

    def start(self, program: Program) -> None:
        program.state, program.since = "STARTING", self.now

    def reloadConfig(self) -> Any:
        changed = [n for n in self.files if n in self.active and self.active[n].version != self.files[n]]
        return [
            [
                [n for n in self.files if n not in self.active],
                changed,
                [n for n in self.active if n not in self.files],
            ]
        ]

    def getAllConfigInfo(self) -> Any:
        return [{"name": name, "startsecs": 2, "stopwaitsecs": 30} for name in self.files]

    def getAllProcessInfo(self) -> Any:
        return [
            {
                "name": name,
                "group": name,
                "state": STATES[program.state],
                "statename": program.state,
                "spawnerr": "",
                "description": "it is as it is",
                "stdout_logfile": program.log,
            }
            for name, program in self.active.items()
        ]

    def addProcessGroup(self, name: str) -> Any:
        assert name not in self.active
        self.note("add", name)
        self.active[name] = Program(version=self.files[name])
        self.start(self.active[name])

    def removeProcessGroup(self, name: str) -> Any:
        assert self.active[name].state in ("STOPPED", "EXITED", "FATAL"), "STILL_RUNNING"
        self.note("remove", name)
        del self.active[name]

    def stopProcessGroup(self, name: str, wait: bool) -> Any:
        assert not wait, "one slow program must not hold up the others"
        program = self.active[name]
        if program.state in ("RUNNING", "STARTING"):
            self.note("stop", name)
            program.state, program.since = "STOPPING", self.now

    def startProcess(self, name: str, wait: bool) -> Any:
        assert not wait
        program = self.active[name]
        if program.state in ("RUNNING", "STARTING", "BACKOFF"):
            raise xmlrpc.client.Fault(60, f"ALREADY_STARTED: {name}")
        self.note("start", name)
        self.start(program)

    def stopProcess(self, name: str, wait: bool) -> Any:
        self.active[name].state = "STOPPED"


def run(fake: Fake, wanted: set[str]) -> Any:
    """Apply and return what the printed line says."""
    report = apply.Applier(fake, wanted, clock=fake.clock, sleep=fake.sleep).apply()
    return json.loads(report.line())


def report(changed: bool, **lists: list[str]) -> dict[str, object]:
    return {"changed": changed, "started": [], "stopped": [], "restarted": [], **lists}


def test_nothing_to_do_touches_nothing() -> None:
    fake = Fake({"a": 1, "b": 1}, {"a": Program(), "b": Program()})
    assert run(fake, {"a", "b"}) == report(False)
    assert fake.calls == []


def test_added_program_runs_at_the_end() -> None:
    fake = Fake({"a": 1, "b": 1}, {"a": Program()})
    assert run(fake, {"a", "b"}) == report(True, started=["b"])
    assert fake.active["b"].state == "RUNNING"


def test_only_the_changed_program_is_restarted() -> None:
    fake = Fake({"a": 1, "b": 2}, {"a": Program(), "b": Program()})
    assert run(fake, {"a", "b"}) == report(True, restarted=["b"])
    assert {name for _, _, name in fake.calls} == {"b"}
    assert fake.active["b"].version == 2


def test_removed_program_is_stopped_first() -> None:
    fake = Fake({"a": 1}, {"a": Program(), "b": Program(stops_after=20)})
    assert run(fake, {"a"}) == report(True, stopped=["b"])
    assert [call for _, call, _ in fake.calls] == ["stop", "remove"]
    assert set(fake.active) == {"a"}


def test_empty_set_stops_its_programs() -> None:
    fake = Fake({}, {"a": Program()})
    assert run(fake, set()) == report(True, stopped=["a"])


def test_programs_of_another_set_are_left_alone() -> None:
    other = {"changed": Program(), "failed": Program(state="FATAL")}
    fake = Fake({"a": 1, "changed": 2, "failed": 1, "added": 1}, {"a": Program(), **other})
    assert run(fake, {"a"}) == report(False)


def test_all_are_signalled_at_once_and_each_returns_when_it_has_stopped() -> None:
    fake = Fake({"fast": 2, "slow": 2}, {"fast": Program(stops_after=1), "slow": Program(stops_after=600)})
    assert run(fake, {"fast", "slow"}) == report(True, restarted=["fast", "slow"])
    assert [(at, name) for at, call, name in fake.calls if call == "stop"] == [(0, "fast"), (0, "slow")]
    returned = {name: at for at, call, name in fake.calls if call == "add"}
    assert returned["fast"] < 2
    assert 600 <= returned["slow"] < 602


@pytest.mark.parametrize("state", ["STOPPED", "EXITED", "FATAL", "BACKOFF"])
def test_program_that_does_not_run_is_started(state: str) -> None:
    fake = Fake({"a": 1}, {"a": Program(state=state)})
    assert run(fake, {"a"}) == report(True, started=["a"])
    assert fake.active["a"].state == "RUNNING"


def test_program_that_starts_by_itself_meanwhile_is_stopped_again() -> None:
    fake = Fake({}, {"a": Program(state="EXITED")})
    processes = fake.getAllProcessInfo
    fake.active["a"].state = "STOPPED"

    def race() -> Any:
        # Supervisor restarts what exited by itself: once, between the stop and the first look.
        if not fake.calls and fake.active["a"].state == "STOPPED":
            fake.active["a"].state = "RUNNING"
        return processes()

    fake.getAllProcessInfo = race  # type: ignore[method-assign]
    assert run(fake, set()) == report(True, stopped=["a"])
    assert [call for _, call, _ in fake.calls] == ["stop", "remove"]


def test_crashing_program_fails_with_name_state_and_end_of_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(1, 51)))
    fake = Fake(
        {"a": 1, "b": 1}, {"a": Program(state="BACKOFF", crashes="BACKOFF", log=str(log)), "b": Program()}
    )
    with pytest.raises(apply.NotRunningError) as error:
        run(fake, {"a", "b"})
    lines = str(error.value).splitlines()
    assert lines[0] == "a: BACKOFF it is as it is"
    assert lines[2:] == [f"line {number}" for number in range(31, 51)]
    assert 30 <= fake.now < 40


def test_given_up_program_fails_at_once() -> None:
    fake = Fake({"a": 1}, {"a": Program(state="STOPPED", crashes="FATAL")})
    with pytest.raises(apply.NotRunningError, match="a: FATAL"):
        run(fake, {"a"})
    assert fake.now < 5


def test_program_that_never_stops_is_reported() -> None:
    fake = Fake({}, {"a": Program(stops_after=1e9)})
    with pytest.raises(apply.NotRunningError, match="not stopped in time"):
        run(fake, set())
    assert fake.now > 3600


def test_program_that_supervisor_does_not_know_is_reported() -> None:
    with pytest.raises(apply.NotRunningError, match="a: unknown to Supervisor"):
        run(Fake({}, {}), {"a"})


def test_names_are_read_from_the_stanzas_only() -> None:
    text = (
        "; [program:no]\n[program:shop-web]\ncommand=run [program:neither]\n[group:x]\n[program:shop-beat]\n"
    )
    assert apply.program_names(text) == {"shop-web", "shop-beat"}


def test_unreadable_log_is_no_error(tmp_path: Path) -> None:
    assert "no log" in apply.log_tail(tmp_path / "none")
