"""The runner of playbooks kills what it says, where it says."""

import sys
import time
from pathlib import Path

import pytest

from interruption import Run, children
from repository import PROJECT
from stack import wait_for

PLAYBOOK = """
- hosts: localhost
  connection: local
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  gather_facts: false
  tasks:
    - name: One
      ansible.builtin.command: touch one
    - name: Left out
      ansible.builtin.command: touch left-out
      when: false
    - name: Two
      ansible.builtin.debug:
    - name: Three
      ansible.builtin.command: touch three
    - name: Long
      ansible.builtin.command: sh -c 'touch long; exec sleep 60'
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(PLAYBOOK.replace("touch ", f"touch {tmp_path}/"))
    return [str(PROJECT / ".venv/bin/ansible-playbook"), "--inventory", "localhost,", str(playbook)]


@pytest.mark.parametrize("after", [1, 2])
def test_a_run_ends_between_two_tasks(command: list[str], tmp_path: Path, after: int) -> None:
    run = Run(command, tmp_path, after)
    assert run.wait(60) == -9
    assert [(task.status, task.name) for task in run.tasks] == [("changed", "One"), ("ok", "Two")][:after]
    assert ((tmp_path / "one").exists(), (tmp_path / "three").exists()) == (True, False)
    assert run.figures == {}


def test_a_kill_reaches_what_runs_in_a_session_of_its_own(command: list[str], tmp_path: Path) -> None:
    run = Run(command, tmp_path, 0)
    assert run.wait_for_task("Three", 60).status == "changed"
    wait_for((tmp_path / "long").exists, 30, "the long task runs")
    below = [run.process.pid]
    for pid in below:
        below += children(pid)
    assert len(below) > 2
    run.kill()
    assert run.wait(0) == -9
    wait_for(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in below), 10, f"{below} are gone")


def test_a_run_that_ends_in_time_is_not_killed(tmp_path: Path) -> None:
    run = Run([sys.executable, "-c", "print('said\\n   it')"], tmp_path, 0)
    run.kill(after=30)
    assert run.wait() == 0
    assert 0 < run.seconds < 30
    run.says("said it")
    with pytest.raises(AssertionError, match="'nothing' is not in"):
        run.says("nothing")


def test_a_run_that_does_not_end_is_an_error(tmp_path: Path) -> None:
    run = Run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0)
    begun = time.monotonic()
    with pytest.raises(AssertionError, match=r"not within 0\.5 s"):
        run.wait(0.5)
    assert time.monotonic() - begun < 10
    assert run.process.poll() == -9
