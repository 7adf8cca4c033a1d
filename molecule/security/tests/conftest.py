"""Fixtures of the verify tests: the server that is attacked, and the playbooks that its owner runs on it."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from stack import APP, Stack, ansible_vault


@pytest.fixture(scope="session")
def inventory() -> str:
    return str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")


@pytest.fixture(scope="session")
def host() -> Host:
    """The server, asked over the engine's own connection: what is seen does not hang on what is tested."""
    return testinfra.get_host("docker://security12")


@pytest.fixture(scope="module")
def stack(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    found = Stack(host, tmp_path_factory.mktemp("certificates"))
    yield found
    # Passwords that a test guesses are refused as well.
    assert [each for each in found.denied() if not each.startswith("default: AUTH")] == []


@pytest.fixture(scope="session")
def flower_login() -> tuple[str, str]:
    return "flower", ansible_vault()["vault_flower_password"]


@pytest.fixture(scope="module")
def secrets(stack: Stack) -> dict[str, str]:
    """All secrets of the inventory, and the passwords that are made of them."""
    derived = stack.host.check_output(
        f"grep -oh '[0-9a-f]\\{{64\\}}' /etc/{APP}/app.env /etc/redis/rootstock.env"
    )
    found = ansible_vault() | {f"derived {number}": each for number, each in enumerate(set(derived.split()))}
    login = f"flower:{found['vault_flower_password']}"
    found["login to Flower"] = base64.b64encode(login.encode()).decode()
    found["Nginx' own login to Flower"] = stack.host.check_output(
        f"sed -n 's/.*Basic \\([^\"]*\\).*/\\1/p' /etc/nginx/rootstock/{APP}-flower.conf"
    )
    found["key of the certificate"] = stack.host.check_output(f"sed -n 3p /etc/ssl/rootstock/{APP}.key")
    assert len(found) >= 10
    return found
