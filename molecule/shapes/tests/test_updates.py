"""A second version of every shape is deployed, and no request fails meanwhile."""

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from testinfra.host import Host

from generations import wait_until_drained
from prober import Prober, Traffic
from shapes import PACKAGES, second_release
from stack import Stack, ansible, recap

#: Requests per second to each; eight applications share the server.
RATE = 3


def commit(repository: Path) -> None:
    author = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *author, "commit", "--quiet", "--all", "-m", "Second"], cwd=repository, check=True)


def publish(host: Host, project: Path, inventory: Path) -> None:
    """Put the next version of the package on the index, and name it as the one to deploy."""
    definition = project / "pyproject.toml"
    definition.write_text(definition.read_text().replace('version = "1.0.0"', 'version = "1.1.0"'))
    subprocess.run(["docker", "cp", f"{project}/.", "shapes12:/opt/index/second"], check=True)
    host.check_output(
        "cd /opt/index && export PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
        " && venv/bin/pip wheel --quiet --no-deps --wheel-dir wheels ./second"
        " && install -m 0644 wheels/rootstock_test_pinboard-1.1.0-* simple/rootstock-test-pinboard/"
    )
    variables = inventory / "host_vars/packaged12.yml"
    variables.parent.mkdir(exist_ok=True)
    variables.write_text("app_source: rootstock-test-pinboard==1.1.0\n")


@pytest.fixture(scope="module")
def traffic(stacks: dict[str, Stack], host: Host, inventory: str) -> dict[str, Traffic]:
    """The requests to each application while all of them are deployed once more."""
    projects = Path(inventory).parent
    for name in stacks:
        second_release(projects / name)
    commit(projects / "older")
    publish(host, projects / "packaged", Path(inventory))
    with ExitStack() as probers:
        started = {name: probers.enter_context(Prober(stack, RATE, "/")) for name, stack in stacks.items()}
        ansible(inventory=inventory, playbook="deploy")
        for stack in stacks.values():
            wait_until_drained(stack)
    return {name: prober.result() for name, prober in started.items()}


def test_the_second_version_is_deployed(stack: Stack, traffic: dict[str, Traffic]) -> None:
    assert "<footer>Release 2</footer>" in stack.get("/").text


def test_no_request_fails_during_a_deploy(stack: Stack, traffic: dict[str, Traffic]) -> None:
    found = traffic[stack.app]
    assert found.sent > 20 * RATE
    assert not found.failures, found


def test_the_same_deploy_again_changes_nothing(traffic: dict[str, Traffic], inventory: str) -> None:
    figures = recap(ansible(inventory=inventory, playbook="deploy").stdout)
    assert {host: run["changed"] for host, run in figures.items()} == dict.fromkeys(figures, 0)
    assert len(figures) == len(PACKAGES)


def test_redis_has_refused_nothing(traffic: dict[str, Traffic], stacks: dict[str, Stack]) -> None:
    stack = stacks["cookie"]
    assert {port: stack.denied(port) for port in (6379, 6380)} == {6379: [], 6380: []}
