"""Playbooks as processes: run, watched task by task, and killed as when the controller dies."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack import PROJECT, recap, wait_for

PLUGINS = Path(__file__).resolve().parent / "callback_plugins"


@dataclass(frozen=True)
class Task:
    """A task that ran to its end on a host: when (seconds since the epoch), how, and its name."""

    time: float
    status: str
    name: str


def descendants(pid: int) -> list[int]:
    """Stop a process and all below it, so that none gets away by a fork; return their ids."""
    found = [pid]
    for parent in found:
        try:
            os.kill(parent, signal.SIGSTOP)
        except ProcessLookupError:
            continue
        found += children(parent)
    return found


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            # The name, in brackets, may have blanks and brackets itself; state and parent follow it.
            parent = (directory / "stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid:
            found.append(int(directory.name))
    return found


class Run:
    """A run of a playbook, in a session of its own: what ends it leaves the test alone."""

    def __init__(self, command: list[str], directory: Path, after: int) -> None:
        self.directory = directory
        self.begun = time.time()
        self.ended = 0.0
        with (directory / "output").open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=PROJECT,
                # Molecule asks for colours, which would hide the figures of the recap.
                env=os.environ
                | {
                    "ANSIBLE_FORCE_COLOR": "false",
                    "ANSIBLE_NOCOLOR": "true",
                    "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),
                    "ANSIBLE_CALLBACKS_ENABLED": "task_log",
                    "INTERRUPTION_LOG": str(directory / "tasks"),
                    "INTERRUPTION_AFTER": str(after),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        """How long it took; known when its end was waited for."""
        return self.ended - self.begun

    @property
    def output(self) -> str:
        """What the run has printed so far, errors included."""
        return (self.directory / "output").read_text()

    @property
    def tasks(self) -> list[Task]:
        """The tasks that have ended so far, those that were skipped left out."""
        log = self.directory / "tasks"
        lines = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
        return [Task(float(seconds), status, name) for seconds, status, name in lines]

    @property
    def figures(self) -> dict[str, int]:
        """The recap's figures of the only host; {} when the run did not come that far."""
        return next(iter(recap(self.output).values()), {})

    def wait(self, seconds: float = 900) -> int:
        """Wait for the end; return the exit status (-9: killed)."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"not within {seconds:g} s: the end of\n{self.output}") from None
        self.ended = self.ended or time.time()
        return status

    def wait_for_task(self, name: str, seconds: float = 300) -> Task:
        """Wait until a task whose name has that in it has ended; return it."""

        def ended() -> Task | None:
            found = next((task for task in self.tasks if name in task.name), None)
            assert found or self.process.poll() is None, f"ended before '{name}':\n{self.output}"
            return found

        found = wait_for(ended, seconds, f"task '{name}'")
        assert found
        return found

    def says(self, pattern: str) -> None:
        """Raise AssertionError unless the output has the pattern, however its lines are folded."""
        text = " ".join(self.output.split())
        assert re.search(pattern, text), f"'{pattern}' is not in:\n{self.output}"

    def kill(self, after: float = 0) -> None:
        """Kill the run and all that it has started here, unless it ends within so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(after)
            return
        # Ansible's workers are sessions of their own: a signal to the process group would miss them and ssh.
        for pid in descendants(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()


class Playbooks:
    """Runs playbooks on an inventory as a user does."""

    def __init__(self, inventory: str, directory: Path) -> None:
        self.inventory = inventory
        self.directory = directory
        self.runs = 0

    def start(
        self,
        playbook: str,
        variables: Mapping[str, Any] | None = None,
        *,
        after: int = 0,
        limit: str = "",
    ) -> Run:
        """Start playbooks/<playbook>.yml; with `after` it is killed when that many tasks have ended."""
        self.runs += 1
        directory = self.directory / f"{self.runs:03}-{playbook}"
        directory.mkdir()
        command = [str(PROJECT / ".venv/bin/ansible-playbook"), "--inventory", self.inventory]
        command += [f"playbooks/{playbook}.yml", "--extra-vars", json.dumps(dict(variables or {}))]
        command += ["--limit", limit] if limit else []
        return Run(command, directory, after)

    def run(self, playbook: str, variables: Mapping[str, Any] | None = None, *, limit: str = "") -> Run:
        """Run a playbook to its end. Raises AssertionError with its output when it fails."""
        run = self.start(playbook, variables, limit=limit)
        assert run.wait() == 0, run.output
        return run

    def fail(self, playbook: str, variables: Mapping[str, Any] | None = None) -> Run:
        """Run a playbook that is to fail. Raises AssertionError with its output when it does not."""
        run = self.start(playbook, variables)
        assert run.wait() != 0, run.output
        return run
