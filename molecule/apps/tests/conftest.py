"""Fixtures of the verify tests: two applications on one server, each deployed by the inventory alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from stack import Stack

#: The inventory's host of each application; the first one is also the server's own name.
HOSTS = {"guestbook": "apps12", "pages": "pages12"}


@pytest.fixture(scope="session")
def inventory() -> str:
    return str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")


@pytest.fixture(scope="session")
def host() -> Host:
    """The server."""
    return testinfra.get_host("docker://apps12")


@pytest.fixture(scope="session")
def guestbook(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    found = Stack(host, tmp_path_factory.mktemp("guestbook"), "guestbook", "guestbook.test")
    yield found
    assert found.denied() == []
    assert found.denied(port=6380) == [], "the cache's instance"


@pytest.fixture(scope="session")
def pages(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return Stack(host, tmp_path_factory.mktemp("pages"), "pages", "pages.test")
