"""The drain timer of the workers, with Celery replaced: the real one is asked on a deployed stack."""

import signal
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from repository import source_module

SOURCE = "roles/celery/files/rootstock_worker/drain.py"


def load(monkeypatch: pytest.MonkeyPatch, seconds: str | None, live: Path = Path("/nonexistent")) -> Any:
    """Load the module as a worker does, with so many seconds; `live` names a generation.

    Returns the receiver of the signal.
    """
    connected: list[Any] = []
    signals = ModuleType("celery.signals")
    signals.worker_shutting_down = SimpleNamespace(  # type: ignore[attr-defined]
        connect=lambda receiver, weak: connected.append(receiver)
    )
    monkeypatch.setitem(sys.modules, "celery", ModuleType("celery"))
    monkeypatch.setitem(sys.modules, "celery.signals", signals)
    monkeypatch.setenv("ROOTSTOCK_RETIRE_SECONDS", "0.1")
    monkeypatch.setenv("ROOTSTOCK_GENERATION", "aaaaaaaa")
    monkeypatch.setenv("ROOTSTOCK_LIVE_GENERATION_FILE", str(live))
    if seconds is None:
        monkeypatch.delenv("ROOTSTOCK_DRAIN_SECONDS", raising=False)
    else:
        monkeypatch.setenv("ROOTSTOCK_DRAIN_SECONDS", seconds)
    source_module(SOURCE).install()
    (receiver,) = connected
    return receiver


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the signals that the process has sent to itself."""
    sent: list[int] = []
    monkeypatch.setattr("os.kill", lambda _pid, number: sent.append(number))
    return sent


def timers() -> list[threading.Timer]:
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_the_cold_shutdown_follows_the_warm_one(monkeypatch: pytest.MonkeyPatch, kills: list[int]) -> None:
    on_shutting_down = load(monkeypatch, "0.05")
    on_shutting_down(sender="default@host", sig="SIGTERM", how="Warm", exitcode=0)
    (timer,) = timers()
    assert timer.daemon, "it would keep a worker alive that has finished"
    assert kills == []
    timer.join(10)
    assert kills == [signal.SIGQUIT]


def test_a_second_stop_signal_starts_no_second_timer(
    monkeypatch: pytest.MonkeyPatch, kills: list[int]
) -> None:
    on_shutting_down = load(monkeypatch, "0.05")
    on_shutting_down(how="Warm")
    (timer,) = timers()
    on_shutting_down(how="Warm")
    assert timers() in ([timer], [])
    timer.join(10)
    on_shutting_down(how="Warm")
    assert timers() == []
    assert kills == [signal.SIGQUIT]


def test_a_cold_shutdown_needs_no_timer(monkeypatch: pytest.MonkeyPatch, kills: list[int]) -> None:
    load(monkeypatch, "0.05")(how="Cold")
    assert timers() == []
    assert kills == []


@pytest.mark.parametrize("value", [None, "", "soon", "0", "-1", "nan", "inf"])
def test_a_wrong_time_fails_when_the_worker_starts(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    with pytest.raises(ValueError, match=r"ROOTSTOCK_DRAIN_SECONDS is '.*': it must be a positive number"):
        load(monkeypatch, value)


@pytest.mark.parametrize(
    ("live", "seconds"),
    [("aaaaaaaa\n", 60), ("bbbbbbbb\n", 0.1), ("aaaaaaaa-2\n", 0.1), ("", 60), (None, 60)],
)
def test_who_is_replaced_gets_the_other_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, live: str | None, seconds: float
) -> None:
    file = tmp_path / "generation"
    if live is not None:
        file.write_text(live)
    on_shutting_down = load(monkeypatch, "60", file)
    begun: list[float] = []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: begun.append(timer.interval))
    on_shutting_down(how="Warm")
    assert begun == [seconds]
