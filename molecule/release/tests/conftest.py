"""Fixtures of the verify tests: one server over SSH, and playbooks that are run on it as a user does."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from interruption import Playbooks
from stack import Stack


@pytest.fixture(scope="session")
def inventory() -> str:
    return str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")


@pytest.fixture(scope="module")
def stack(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The server, asked over the engine's own connection: what is seen does not hang on what is tested."""
    server = testinfra.get_host(f"docker://{host.backend.get_hostname()}")
    found = Stack(server, tmp_path_factory.mktemp("certificates"))
    yield found
    assert found.denied() == []


@pytest.fixture(scope="module")
def play(inventory: str, tmp_path_factory: pytest.TempPathFactory) -> Playbooks:
    return Playbooks(inventory, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory for the releases that a module deploys."""
    return tmp_path_factory.mktemp("sources")
