"""Fixtures of the verify tests: they run against the stack that converge has deployed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from repository import defaults
from stack import Stack, ansible

# A pool that comes and goes: one child, so that whoever runs a task is the child that ran the one before,
# or its replacement.
POOL = {
    "name": "trial",
    "queues": ["trial"],
    "concurrency": 1,
    "max_tasks_per_child": 3,
    "max_memory_per_child": 200000,
    "drain": 2,
    "stopwaitsecs": 60,
}


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


@pytest.fixture(scope="session")
def trial(inventory: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """Adds the trial pool to the inventory's on all servers; yields its name, as long as it is there."""
    pools = [*defaults("celery")["celery_worker_pools"], POOL]
    extra = tmp_path_factory.mktemp("pools") / "pools.json"
    extra.write_text(json.dumps({"celery_worker_pools": pools}))
    there = {str(POOL["name"])}
    try:
        run = ansible("--tags=app", f"--extra-vars=@{extra}", inventory=inventory, check=False)
        assert run.returncode == 0, run.stdout
        yield there
    finally:
        if there:
            ansible("--tags=app", inventory=inventory)
