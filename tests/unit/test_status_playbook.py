"""playbooks/status.yml itself, on this machine without an application and on a host that does not answer."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from repository import PROJECT

LOCAL = {
    "ansible_connection": "local",
    "ansible_become": False,
    "ansible_python_interpreter": sys.executable,
    "app_name": "no-such-app",
}
HOSTS = {
    # First, because the tasks that run once are the first host's.
    "lost": {"ansible_host": "127.0.0.1", "ansible_port": 1, "app_name": "no-such-app"},
    "bare": LOCAL,
    "broken": LOCAL | {"ansible_python_interpreter": "/nonexistent/python3"},
    "store": LOCAL | {"app_name": "other-app"},
}
INVENTORY = {
    "all": {
        "hosts": HOSTS,
        "children": {
            "web": {"hosts": {"lost": {}, "bare": {}, "broken": {}}},
            "redis": {"hosts": {"lost": {}, "store": {}}},
        },
        "vars": {"app_domain": "shop.example", "app_celery_application": "shop"},
    }
}


def play(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (directory / "hosts.yml").write_text(yaml.safe_dump(INVENTORY, sort_keys=False))
    command: list[str | Path] = [PROJECT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml"]
    return subprocess.run(
        [*command, PROJECT / "playbooks/status.yml", *arguments],
        cwd=directory,
        env=os.environ | {"PWD": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("status")


@pytest.fixture(scope="module")
def done(directory: Path) -> subprocess.CompletedProcess[str]:
    return play(directory, "--check", "-e", "status_file=status.json")


def test_every_host_is_shown_and_the_run_fails_with_the_reasons(
    done: subprocess.CompletedProcess[str],
) -> None:
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    shown = done.stdout[done.stdout.index("TASK [Show it]") : done.stdout.index("TASK [Say what")]
    assert [host for host in HOSTS if not re.search(rf"^ +{host}\b", shown, re.MULTILINE)] == []
    assert max(map(len, shown.splitlines()[1:])) <= 100
    message = done.stdout[done.stdout.index("TASK [Say what") :]
    assert re.search(r"lost: host: .*Connection refused; ", message)
    assert re.search(r"broken: host: .*/nonexistent/python3", message)
    assert "bare: generation: none is live; " in message
    assert "HOST" not in message


def test_nothing_is_changed(done: subprocess.CompletedProcess[str]) -> None:
    assert re.findall(r"changed=(\d+)", done.stdout) == ["0"] * 4


def test_the_file_has_the_report_and_is_private(
    done: subprocess.CompletedProcess[str], directory: Path
) -> None:
    file = directory / "status.json"
    assert file.stat().st_mode & 0o777 == 0o600
    report = json.loads(file.read_text())
    assert report["state"] == "unhealthy"
    assert {app["name"]: [host["name"] for host in app["hosts"]] for app in report["apps"]} == {
        "no-such-app": ["lost", "bare", "broken"],
        "other-app": ["store"],
    }


def test_a_limit_and_a_healthy_host_end_well(directory: Path) -> None:
    done = play(directory, "--limit", "store")
    # The disk of this machine is the only thing that a data store is judged by.
    assert done.returncode == (2 if "store: disk" in done.stdout else 0), done.stdout
    assert "other-app: " in done.stdout
    assert "lost" not in done.stdout
