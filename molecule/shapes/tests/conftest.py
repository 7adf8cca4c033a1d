"""Fixtures of the verify tests: eight applications on one server, each deployed by its inventory alone."""

import os
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from shapes import PACKAGES
from stack import Stack


@pytest.fixture(scope="session")
def inventory() -> str:
    return str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")


@pytest.fixture(scope="session")
def host() -> Host:
    """The server."""
    return testinfra.get_host("docker://shapes12")


@pytest.fixture(scope="session")
def stacks(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stack]:
    """Each application by its name."""
    return {name: Stack(host, tmp_path_factory.mktemp(name), name, f"{name}.test") for name in PACKAGES}


@pytest.fixture(params=PACKAGES)
def stack(request: pytest.FixtureRequest, stacks: dict[str, Stack]) -> Stack:
    """Each application in turn."""
    return stacks[request.param]
