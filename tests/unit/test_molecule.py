"""Every Molecule scenario runs on the same kind of server, though YAML cannot share it between files."""

import sys
from pathlib import Path
from typing import Any

import molecule_failures
import pytest

from repository import PROJECT, load

BASE = load(PROJECT / ".config/molecule/config.yml")
# What a scenario says itself: names and groups, how they reach each other, whether one that ends comes back.
OWN_KEYS = {"name", "groups", "networks", "docker_networks", "restart_policy"}
OWN = [path for path in sorted(PROJECT.glob("molecule/*/molecule.yml")) if load(path).get("platforms")]


def kinds(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The platforms without what is a scenario's own."""
    return [
        {key: value for key, value in server.items() if key not in OWN_KEYS} for server in config["platforms"]
    ]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.parent.name)
def test_the_servers_of_a_scenario_are_those_of_the_base_configuration(path: Any) -> None:
    own = kinds(load(path))
    assert [server for server in own if server not in kinds(BASE)] == []


ANSIBLE = """\
  \x1b[2m│\x1b[0m TASK [packages : Fetch the lists of packages, if they are older than an
  \x1b[2m│\x1b[0m   hour] ***
  \x1b[2m│\x1b[0m ok: [apps12]
  \x1b[2m│\x1b[0m
  \x1b[2m│\x1b[0m TASK [packages : Install the packages]
  \x1b[2m│\x1b[0m   *****************************************
  \x1b[2m│\x1b[0m \x1b[31mfatal: [apps12]: FAILED! =>
  \x1b[2m│\x1b[0m     changed: false
  \x1b[2m│\x1b[0m     msg: Could not get lock
  \x1b[2m│\x1b[0m
  \x1b[2m│\x1b[0m PLAY RECAP
"""
PYTEST = """\
  │ >       assert 1 == 2
  │ E       assert 1 == 2
  │
  │ tests/test_status.py:7: AssertionError
  │ =========================== short test summary info ============================
  │ FAILED tests/test_status.py::test_a_stopped_worker_is_unhealthy - assert 1 == 2
"""


@pytest.mark.parametrize(
    ("output", "repeated"),
    [
        (
            ANSIBLE,
            [
                "TASK [packages : Install the packages]   *****************************************",
                "fatal: [apps12]: FAILED! =>",
                "    changed: false",
                "    msg: Could not get lock",
            ],
        ),
        (
            PYTEST,
            [
                "E       assert 1 == 2",
                "FAILED tests/test_status.py::test_a_stopped_worker_is_unhealthy - assert 1 == 2",
            ],
        ),
    ],
)
def test_the_end_of_a_run_says_what_failed(
    output: str, repeated: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").write_text(output)
    run = "import sys; print(open(sys.argv[1]).read(), end=''); sys.exit(int(sys.argv[2]))"
    command = [sys.executable, "-c", run, str(tmp_path / "output")]
    assert molecule_failures.main([*command, "0"]) == 0
    assert capfd.readouterr().out == output
    assert molecule_failures.main([*command, "3"]) == 3
    assert capfd.readouterr().out == output + "\n".join(["", "What failed:", *repeated, ""])
