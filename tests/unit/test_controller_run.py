"""The action that tells whether another run of this controller still goes on."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError

from repository import PROJECT, source_module

plugin = source_module("plugins/action/controller_run.py")


@pytest.fixture
def ended() -> dict[str, Any]:
    """A run of this controller that was there a moment ago."""
    process = subprocess.Popen(["sleep", "60"])
    run: dict[str, Any] = {
        **plugin.this_run(),
        "pid": process.pid,
        "started": plugin.started(process.pid),
    }
    assert run["started"]
    assert not plugin.has_ended(run)
    process.kill()
    process.wait()
    return run


def test_this_run_has_not_ended() -> None:
    assert not plugin.has_ended(plugin.this_run())


def test_a_run_whose_process_is_gone_has_ended(ended: dict[str, Any]) -> None:
    assert plugin.has_ended(ended)


def test_a_run_whose_number_another_process_got_has_ended() -> None:
    assert plugin.has_ended({**plugin.this_run(), "started": "Mon Nov 23 10:00:00 1998"})


def test_of_another_controller_nothing_is_known(ended: dict[str, Any]) -> None:
    assert not plugin.has_ended({**ended, "controller": "elsewhere"})


@pytest.mark.parametrize("rubbish", [{}, None, "bob", {"controller": plugin.this_run()["controller"]}])
def test_what_is_no_run_is_refused(rubbish: object) -> None:
    with pytest.raises(AnsibleError, match="is not what controller_run returns"):
        plugin.has_ended(rubbish)


def test_all_tasks_of_a_playbook_are_the_same_run(tmp_path: Path) -> None:
    """Each runs in a process of its own; the run is the one that outlives them."""
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": [
            task
            for name in ("first", "second")
            for task in (
                {"controller_run": None, "register": name},
                {
                    "ansible.builtin.copy": {
                        "content": f"{{{{ {name}.run | to_json }}}}",
                        "dest": str(tmp_path / name),
                    }
                },
            )
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    command: list[str | Path] = [PROJECT / ".venv/bin/ansible-playbook", "-i", "localhost,"]
    process = subprocess.Popen([*command, tmp_path / "play.yml"], cwd=PROJECT, stdout=subprocess.DEVNULL)
    assert process.wait() == 0
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("first", "second"))
    assert first == second
    assert first["pid"] == process.pid
    assert plugin.has_ended(first)
