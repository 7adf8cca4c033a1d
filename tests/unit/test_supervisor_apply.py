"""supervisor-apply against a Supervisor that is simulated second by second."""

import functools
import json
import sys
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from repository import source_module
from simulated_supervisor import STATES

SOURCE = "roles/supervisor/files/supervisor_apply.py"
apply = source_module(SOURCE)


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
# ruff: noqa: N802 - Supervisor's own names, 2026-11-23
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
        return [{"name": name, "group": name, "startsecs": 2, "stopwaitsecs": 30} for name in self.files]

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
        if self.active[name].state not in ("STOPPED", "EXITED", "FATAL"):
            raise xmlrpc.client.Fault(apply.STILL_RUNNING, f"STILL_RUNNING: {name}")
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
    return {"changed": changed, "started": [], "stopped": [], "restarted": [], "draining": [], **lists}


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


def test_removed_program_is_told_to_stop_and_not_waited_for() -> None:
    fake = Fake({"a": 1}, {"a": Program(), "b": Program(stops_after=600)})
    assert run(fake, {"a"}) == report(True, stopped=["b"], draining=["b"])
    assert fake.calls == [(0, "stop", "b")]


def test_a_program_that_drains_is_in_the_report_and_is_no_change() -> None:
    fake = Fake({}, {"a": Program(state="STOPPING", stops_after=600)})
    assert run(fake, set()) == report(False, draining=["a"])
    assert fake.calls == []


def test_removed_program_that_has_stopped_is_taken_out() -> None:
    fake = Fake({}, {"a": Program(state="EXITED")})
    assert run(fake, set()) == report(False)
    assert fake.active == {}


def reap(fake: Fake) -> None:
    apply.Applier(fake, set(), clock=fake.clock, sleep=fake.sleep).reap()


def test_the_reaper_takes_each_program_out_when_it_has_stopped() -> None:
    draining = {name: Program(state="STOPPING", stops_after=s) for name, s in (("fast", 1), ("slow", 9000))}
    fake = Fake({"a": 1}, {"a": Program(), "still named": Program(), **draining})
    fake.files["still named"] = 1
    reap(fake)
    assert set(fake.active) == {"a", "still named"}
    assert [(round(at), name) for at, call, name in fake.calls if call == "remove"] == [
        (1, "fast"),
        (9000, "slow"),
    ]


def test_the_reaper_tells_a_program_again_that_started_by_itself_meanwhile() -> None:
    fake = Fake({}, {"a": Program(state="RUNNING", stops_after=5)})
    reap(fake)
    assert [call for _, call, _ in fake.calls] == ["stop", "remove"]


@pytest.mark.parametrize(
    ("code", "draining"), [(apply.BAD_NAME, []), (apply.STILL_RUNNING, ["a"])], ids=["gone", "started"]
)
def test_what_another_run_did_a_moment_before_is_no_error(code: int, draining: list[str]) -> None:
    fake = Fake({}, {"a": Program(state="EXITED")})

    def race(name: str) -> Any:
        raise xmlrpc.client.Fault(code, name)

    fake.removeProcessGroup = race  # type: ignore[method-assign]
    assert run(fake, set()) == report(False, draining=draining)


def test_another_fault_is_not_hidden() -> None:
    fake = Fake({}, {"a": Program(state="EXITED")})

    def refuse(name: str) -> Any:
        raise xmlrpc.client.Fault(6, f"SHUTDOWN_STATE: {name}")

    fake.removeProcessGroup = refuse  # type: ignore[method-assign]
    with pytest.raises(xmlrpc.client.Fault, match="SHUTDOWN_STATE"):
        run(fake, set())


def stop(fake: Fake, names: set[str]) -> Any:
    applier = apply.Applier(fake, set(), clock=fake.clock, sleep=fake.sleep)
    return json.loads(applier.stop(names).line())


def test_programs_are_stopped_at_once_and_their_file_stays() -> None:
    fake = Fake(
        {"a": 1, "b": 1, "c": 1}, {"a": Program(stops_after=1), "b": Program(stops_after=600), "c": Program()}
    )
    assert stop(fake, {"a", "b", "unknown"}) == report(True, stopped=["a", "b"])
    assert fake.calls == [(0, "stop", "a"), (0, "stop", "b")]
    assert {name: program.state for name, program in fake.active.items()} == {
        "a": "STOPPED",
        "b": "STOPPED",
        "c": "RUNNING",
    }
    assert 600 <= fake.now < 602
    assert stop(fake, {"a", "b"}) == report(False)


def test_program_that_never_stops_is_reported() -> None:
    fake = Fake({"a": 1}, {"a": Program(stops_after=1e9)})
    with pytest.raises(apply.NotRunningError, match="not stopped in time"):
        stop(fake, {"a"})
    assert fake.now > 3600


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


class Command:
    """supervisor-apply as it is called, with a Supervisor that is simulated and files that are real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path, active: dict[str, Program]) -> None:
        self.reapers = 0
        for name, programs in {
            "shop.a": ["shop-web.a", "shop-worker.a"],
            "shop-single": ["shop-beat"],
            "other": ["other"],
        }.items():
            stanzas = "".join(f"[program:{program}]\n" for program in programs)
            (directory / f"{name}.conf").write_text(stanzas)
        self.fake = Fake(dict.fromkeys(["shop-web.a", "shop-worker.a", "shop-beat", "other"], 1), active)
        applier = functools.partial(apply.Applier, clock=self.fake.clock, sleep=self.fake.sleep)
        monkeypatch.setattr(apply, "CONFIGURATION_DIRECTORY", directory)
        monkeypatch.setattr(apply, "LOCK_FILE", directory / "lock")
        monkeypatch.setattr(apply, "connect", lambda: self.fake)
        monkeypatch.setattr(apply, "Applier", applier)
        monkeypatch.setattr(apply, "reap_in_background", self.reap_in_background)
        self.monkeypatch = monkeypatch

    def reap_in_background(self) -> None:
        self.reapers += 1

    def __call__(self, *arguments: str) -> int:
        self.monkeypatch.setattr(sys, "argv", ["supervisor-apply", *arguments])
        return int(apply.main())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    return Command(monkeypatch, tmp_path, {"other": Program(state="STOPPED")})


def running(fake: Fake) -> set[str]:
    return {name for name, program in fake.active.items() if program.state == "RUNNING"}


def test_several_sets_are_applied_and_no_other(command: Command) -> None:
    assert command("shop.a", "shop-single", "no-such-set") == 0
    assert running(command.fake) == {"shop-web.a", "shop-worker.a", "shop-beat"}
    assert command.reapers == 0


def test_only_the_named_programs_of_a_set_start_and_are_not_waited_for(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("shop.a", "--only", "shop-web.a", "other") == 0
    assert set(command.fake.active) == {"shop-web.a", "other"}
    assert (command.fake.active["other"].state, command.fake.now) == ("STOPPED", 0)
    assert json.loads(capsys.readouterr().out) == report(True, started=["shop-web.a"])


def test_what_drains_gets_a_reaper(command: Command) -> None:
    command.fake.active["shop-web.b"] = Program(stops_after=600)
    assert command("shop.a") == 0
    assert command.reapers == 1
    assert command.fake.active["shop-web.b"].state == "STOPPING"


def test_the_command_stops_what_it_is_told_and_starts_nothing(command: Command) -> None:
    command.fake.active["shop-worker.a"] = Program()
    assert command("--stop", "shop-worker.a") == 0
    assert running(command.fake) == set()


def test_the_reaper_needs_no_lock(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It may wait for hours, in which others apply their sets."""
    monkeypatch.setattr(apply, "LOCK_FILE", tmp_path / "no such directory/lock")
    command.fake.active["shop-web.b"] = Program(stops_after=600)
    assert command("--reap") == 0
    assert "shop-web.b" not in command.fake.active
