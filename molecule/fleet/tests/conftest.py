"""Fixtures of the verify tests: several servers, and the playbooks that their owner runs."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from fleet import server
from interruption import Playbooks
from stack import Stack


@pytest.fixture(scope="session")
def data() -> Host:
    return server("data12")


@pytest.fixture(scope="session")
def inventory() -> str:
    return str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")


@pytest.fixture(scope="session")
def redis(data: Host) -> Callable[..., str]:
    """Speak to a Redis of the data host as admin."""

    def ask(command: str, port: int = 6379) -> str:
        admin = '. /etc/redis/rootstock.env && REDISCLI_AUTH="$REDIS_ADMIN_PASSWORD" redis-cli --user admin'
        return data.check_output(f"{admin} --tls --cacert /etc/redis/tls/redis.crt -p {port} {command}")

    return ask


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, redis: Callable[..., str]) -> Iterator[Stack]:
    """A web server, whose site is asked for at the edge; the data stores are elsewhere."""
    yield Stack(server("web12"), tmp_path_factory.mktemp("certificates"), site=server("edge12"))
    assert (redis("ACL LOG"), redis("ACL LOG", 6380)) == ("", "")


@pytest.fixture(scope="module")
def play(inventory: str, tmp_path_factory: pytest.TempPathFactory) -> Playbooks:
    return Playbooks(inventory, tmp_path_factory.mktemp("runs"))
