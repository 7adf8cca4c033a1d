"""The repository is a collection as well: it builds, and holds nothing that belongs to one clone."""

import os
import subprocess
import tarfile
from pathlib import Path

from repository import PROJECT, ROLES


def test_the_collection_builds_without_secrets_and_local_files(tmp_path: Path) -> None:
    subprocess.run(
        [PROJECT / ".venv/bin/ansible-galaxy", "collection", "build", "--output-path", tmp_path],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        check=True,
    )
    (built,) = tmp_path.glob("rootstock-stack-*.tar.gz")
    with tarfile.open(built) as archive:
        names = archive.getnames()
    assert {name.split("/")[1] for name in names if name.startswith("roles/") and "/" in name} == set(ROLES)
    local = (".vault-password", "/vault.yml/", ".venv", ".cache", ".git/", "__pycache__", ".mypy_cache")
    assert [name for name in names if any(part in f"/{name}/" for part in local)] == []
