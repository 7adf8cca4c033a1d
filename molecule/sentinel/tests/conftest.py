"""Fixtures of the verify tests: three Redis, and a server with all else of the application."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import server
from interruption import Playbooks
from redis_set import MEMBERS, RedisSet
from stack import Stack


@pytest.fixture(scope="session")
def inventory() -> str:
    return str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return Stack(server("app12"), tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def redis() -> Iterator[RedisSet]:
    """A whole set, before and after."""
    found = RedisSet()
    found.wait_until_whole()
    yield found
    found.wait_until_whole()
    # Whatever Sentinels, replicas and the proxy ask for, they may.
    assert {name: found.ask(name, "ACL LOG") for name in MEMBERS} == dict.fromkeys(MEMBERS, "")


@pytest.fixture(scope="module")
def play(inventory: str, tmp_path_factory: pytest.TempPathFactory) -> Playbooks:
    return Playbooks(inventory, tmp_path_factory.mktemp("runs"))
