"""The lock of those who change an application, and what is seen of it, on a tree that is made up."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repository import source_module

SOURCE = "roles/generation/files/host_state.py"
ME = {"user": "ann", "controller": "desk", "pid": 7, "started": "Mon Nov 23 10:00:00 2026"}
OTHER = {**ME, "user": "bob", "controller": "lap"}
EXPIRES = 3600
NOT_THERE = "/nonexistent"

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The server's root, on which the application was prepared."""
    for directory in ("srv/shop/releases", "etc/supervisor/conf.d", "etc/shop", "etc/systemd/system"):
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def ask(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run the script as a play does; return what it prints."""
    module = source_module(SOURCE)
    monkeypatch.setattr(module, "SRV", root / "srv")
    monkeypatch.setattr(module, "ETC", root / "etc")
    monkeypatch.setattr(module, "SUPERVISOR_FILES", root / "etc/supervisor/conf.d")
    monkeypatch.setattr(module, "UNITS", root / "etc/systemd/system")
    monkeypatch.setenv("PATH", NOT_THERE)

    def run(action: str, asks: dict[str, Any] = ME, ended: dict[str, Any] | None = None) -> dict[str, Any]:
        take_over = json.dumps(ended) if ended else ""
        assert module.main(action, "shop", json.dumps(asks), str(EXPIRES), take_over) == 0
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return run


@pytest.fixture
def lock(root: Path) -> Path:
    return root / "srv/shop/deploy.lock"


def hold(lock: Path, holder: dict[str, Any], seconds: float) -> None:
    """Have somebody hold the lock, who took it so long ago."""
    lock.write_text(json.dumps({**holder, "since": time.time() - seconds}))


def holder(lock: Path) -> dict[str, Any]:
    """Return who holds the lock by its file."""
    note: dict[str, Any] = json.loads(lock.read_text() or "{}")
    return {key: value for key, value in note.items() if key != "since"}


def test_a_free_lock_is_taken_and_given_back(ask: Ask, lock: Path) -> None:
    assert ask("lock")["acquired"]
    assert holder(lock) == ME
    assert ask("unlock")["seconds"] == 0
    assert holder(lock) == {}
    assert ask("lock", OTHER)["acquired"]


def test_who_comes_second_is_told_who_was_first(ask: Ask, lock: Path) -> None:
    hold(lock, OTHER, EXPIRES - 60)
    before = lock.read_text()
    answer = ask("lock")
    assert (answer["acquired"], answer["holder"], answer["age"]) == (False, OTHER, EXPIRES - 60)
    assert lock.read_text() == before


def test_a_forgotten_lock_is_taken(ask: Ask, lock: Path) -> None:
    hold(lock, OTHER, EXPIRES + 60)
    assert ask("lock")["acquired"]
    assert holder(lock) == ME


def test_the_lock_of_a_run_that_has_ended_is_taken_over_and_that_of_no_other(ask: Ask, lock: Path) -> None:
    hold(lock, OTHER, 60)
    assert not ask("lock", ended={**OTHER, "pid": 8})["acquired"]
    assert ask("lock", ended=OTHER)["acquired"]
    assert holder(lock) == ME


def test_who_holds_the_lock_gets_it_again_and_it_does_not_grow_younger(ask: Ask, lock: Path) -> None:
    hold(lock, ME, 60)
    before = json.loads(lock.read_text())
    assert ask("lock")["acquired"]
    assert json.loads(lock.read_text()) == before


def test_nobody_gives_back_the_lock_of_another(ask: Ask, lock: Path) -> None:
    hold(lock, OTHER, 60)
    ask("unlock")
    assert holder(lock) == OTHER


@pytest.mark.parametrize("note", ["", '{"user": "bob", "cont'])
def test_a_note_that_was_cut_off_holds_nothing(ask: Ask, lock: Path, note: str) -> None:
    lock.write_text(note)
    assert ask("lock")["acquired"]
    assert holder(lock) == ME


def test_looking_locks_nothing(ask: Ask, lock: Path) -> None:
    hold(lock, OTHER, 60)
    assert ask("look")["acquired"]
    assert holder(lock) == OTHER


def test_a_bare_server_has_nothing_and_gets_nothing(ask: Ask, root: Path) -> None:
    (root / "srv/shop/releases").rmdir()
    (root / "srv/shop").rmdir()
    answer = ask("lock")
    assert (answer["acquired"], answer["prepared"], answer["live"], answer["releases"]) == (
        True,
        False,
        "",
        {},
    )
    assert not (root / "srv/shop").exists()


def test_what_there_is_is_seen(ask: Ask, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    srv, supervisor = root / "srv/shop", root / "etc/supervisor/conf.d"
    for release, files in {
        "new": {".complete": "", ".migrated": "0123456789ab\n"},
        "old": {".complete": ""},
        "cut": {},
    }.items():
        (srv / "releases" / release).mkdir()
        for name, text in files.items():
            (srv / "releases" / release / name).write_text(text)
    (srv / "current").symlink_to("releases/new")
    (srv / "previous").symlink_to("releases/old")
    (srv / "generation").write_text("aaaaaaaa\n")
    (root / "etc/shop/app.env").symlink_to("/etc/shop/app.0123456789ab.env")
    # Another application's name begins in the same way.
    for name in ("shop.aaaaaaaa", "shop.bbbbbbbb-2", "shop-single", "shopping.cccccccc"):
        (supervisor / f"{name}.conf").touch()
    for name in ("shop.feeds.timer", "shop.feeds.service", "shop-two.feeds.timer", "shop.sessions.timer"):
        (root / f"etc/systemd/system/rootstock-timer-{name}").touch()
    bin_directory = root / "bin"
    bin_directory.mkdir()
    status = "shop-web.aaaaaaaa  RUNNING  pid 1\nshop-beat  FATAL  gave up\nshopping-web  RUNNING  pid 2"
    (bin_directory / "supervisorctl").write_text(f"#!/bin/sh\necho '{status}'\nexit 3\n")
    (bin_directory / "supervisorctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_directory))

    seen = ask("look")
    assert {key: seen[key] for key in seen if key not in ("acquired", "holder", "age", "seconds")} == {
        "prepared": True,
        "releases": {"new": "0123456789ab", "old": ""},
        "unfinished": ["cut"],
        "current": "new",
        "previous": "old",
        "live": "aaaaaaaa",
        "generations": ["aaaaaaaa", "bbbbbbbb-2"],
        "programs": {"shop-web.aaaaaaaa": "RUNNING", "shop-beat": "FATAL"},
        "configuration": "app.0123456789ab.env",
        "timers": ["feeds", "sessions"],
    }
