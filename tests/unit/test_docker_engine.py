"""What scripts/docker_engine.sh says of a Docker that cannot be used; the Docker here is a stand-in."""

import os
import subprocess
from pathlib import Path

import pytest

from repository import PROJECT

REFUSED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/info": dial unix /var/run/docker.sock: '
    "connect: permission denied"
)
AWAY = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            REFUSED,
            "docker engine: an engine runs, but user visitor may not use its socket. Fix: sudo usermod",
        ),
        (AWAY, "docker engine: no engine answers and there is neither root nor passwordless sudo"),
    ],
)
def test_what_is_wrong_with_docker_is_said(tmp_path: Path, said: str, reason: str) -> None:
    stand_ins = {
        "docker": f"echo '{said}' >&2; exit 1",
        # As a user without rights: the test may run as root, who could install Docker.
        "id": "case $1 in -u) echo 1000 ;; -un) echo visitor ;; esac",
        "sudo": "exit 1",
    }
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [PROJECT / "scripts/docker_engine.sh"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(reason)
    assert len(done.stderr.splitlines()) == 1
