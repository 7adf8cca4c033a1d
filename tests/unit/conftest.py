"""Ansible reads its configuration when it is imported: name the repository's before any test does that."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from repository import PROJECT
from simulated_supervisor import watchdog, worker

os.environ["ANSIBLE_CONFIG"] = str(PROJECT / "ansible.cfg")
os.environ["ANSIBLE_HOME"] = str(PROJECT / ".cache/ansible")
os.environ["ANSIBLE_NOCOLOR"] = "1"


@pytest.fixture
def heartbeats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory where the watchdog looks for heartbeats, and its lock beside it."""
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr(worker, "RUN_DIRECTORY", run)
    monkeypatch.setattr(watchdog, "LOCK_FILE", tmp_path / "lock")
    return run


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The lines since the last call."""
    return lambda: capsys.readouterr().out.splitlines()
