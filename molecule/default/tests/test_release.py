"""A release on several hosts: all switch to it or none."""

import pytest
import testinfra
from testinfra.host import Host

from generations import files, live
from interruption import Playbooks, Run
from releases import broken_on
from stack import APP, Stack

HOSTS = ["debian12", "debian13"]


@pytest.fixture(scope="session")
def before() -> dict[str, str]:
    """The host's live generations before the deploy that fails."""
    servers = {name: testinfra.get_host(f"docker://{name}") for name in HOSTS}
    return {name: server.check_output(f"cat /srv/{APP}/generation") for name, server in servers.items()}


@pytest.fixture(scope="session")
def failed_deploy(inventory: str, before: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A deploy of a release that one of the hosts cannot run."""
    directory = tmp_path_factory.mktemp("deploy")
    variables = {"app_source": str(broken_on(directory, HOSTS[1])), "django_app_ready_timeout": 10}
    return Playbooks(inventory, directory).fail("deploy", variables)


def test_a_host_that_fails_keeps_the_others_from_switching(
    host: Host, stack: Stack, before: dict[str, str], failed_deploy: Run
) -> None:
    generation = before[host.backend.get_hostname()]
    failed_deploy.says(f"not ready here.* generation {generation}")
    assert live(stack) == generation
    assert files(stack) == [f"{APP}-single.conf", f"{APP}.{generation}.conf"]
    assert host.check_output(f"readlink /srv/{APP}/web.sock") == f"/run/{APP}/web.{generation}.sock"
    assert stack.get("/").status_code == 200
