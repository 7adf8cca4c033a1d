"""Fixtures of the verify tests: they run against the stack that converge has deployed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from stack import Stack, ansible


@pytest.fixture(scope="module")
def stack(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    found = Stack(host, tmp_path_factory.mktemp("certificates"))
    yield found
    assert found.denied() == []


@pytest.fixture(scope="session")
def inventory() -> str:
    return str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")


@pytest.fixture(scope="session")
def dry_run(inventory: str):
    """A --check --diff run on the converged hosts; its result serves every host's test."""
    return ansible("--check", "--diff", inventory=inventory, check=False)
