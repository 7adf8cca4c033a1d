"""A pool that is taken out of the inventory, on all servers in one run, after test_celery.py has used it."""

import pytest
import testinfra
from testinfra.host import Host

from generations import live, pids, wait_until_drained
from stack import APP, Stack, ansible
from traffic import QUEUES


@pytest.fixture(scope="session")
def before(
    trial: set[str], inventory: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, dict[str, int]]]:
    """For each server the live generation and all processes before the run that takes the pool away."""
    directory = tmp_path_factory.mktemp("certificates")
    hosts = testinfra.get_hosts(["ansible://all"], ansible_inventory=inventory)
    stacks = {host.backend.get_hostname(): Stack(host, directory) for host in hosts}
    found = {name: (live(stack), pids(stack)) for name, stack in stacks.items()}
    run = ansible("--tags=app", inventory=inventory, check=False)
    assert run.returncode == 0, run.stdout
    trial.clear()
    return found


def test_a_removed_pool_is_gone_and_beat_is_left_alone(
    host: Host, stack: Stack, before: dict[str, tuple[str, dict[str, int]]]
) -> None:
    generation, processes = before[host.backend.get_hostname()]
    assert f"{APP}-worker-trial.{generation}" in processes
    assert live(stack) != generation
    wait_until_drained(stack)
    after = pids(stack)
    assert {program for program in after if "worker" in program} == {
        f"{APP}-worker-{queue}.{live(stack)}" for queue in QUEUES
    }
    # The workers are another generation; what there is one of has changed in nothing.
    assert {program: pid for program, pid in after.items() if "." not in program} == {
        program: pid for program, pid in processes.items() if "." not in program
    }
    assert host.run("pgrep --full hostname=[t]rial").rc == 1
