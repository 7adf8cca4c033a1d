"""A deploy of one application leaves the other alone."""

import os
import subprocess
from pathlib import Path

import pytest

from stack import PROJECT, Stack, ansible, ansible_vault, broker_setting, recap, wait_for

#: The output of a deploy, and the other application's processes before and after.
Deployed = tuple[str, dict[str, str], dict[str, str]]
VAULTS = PROJECT / "molecule/apps/inventory/group_vars"
REPOSITORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "guestbook"


def pids(stack: Stack) -> dict[str, str]:
    """Process ids of the application's programs, by name."""
    lines = stack.host.check_output("supervisorctl status").splitlines()
    return {
        (words := line.split())[0]: words[3].rstrip(",")
        for line in lines
        if line.startswith(f"{stack.app}-") and " RUNNING " in line
    }


@pytest.fixture(scope="module")
def deployed(guestbook: Stack, pages: Stack, inventory: str) -> Deployed:
    """A commit on the branch, and a deploy of that application alone."""
    template = REPOSITORY / "backend/guestbook/templates/guestbook/entries.html"
    template.write_text(template.read_text().replace("<h1>Guestbook</h1>", "<h1>Visitors</h1>"))
    subprocess.run(
        ["git", "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qam", "Second"],
        cwd=REPOSITORY,
        check=True,
    )
    before = pids(pages)
    result = ansible("--limit", "apps12", inventory=inventory, playbook="deploy")
    return result.stdout, before, pids(pages)


def test_a_new_commit_is_deployed(guestbook: Stack, deployed: Deployed) -> None:
    assert "<h1>Visitors</h1>" in guestbook.get("/").text


def test_the_processes_of_the_other_are_the_same(
    deployed: Deployed,
) -> None:
    _, before, after = deployed
    assert len(before) == 5
    assert after == before


def test_the_same_deploy_again_changes_nothing(guestbook: Stack, inventory: str, deployed: Deployed) -> None:
    draining = wait_for(lambda: len(pids(guestbook)) == 4, 60, "the old generation has finished")
    assert draining
    figures = recap(ansible(inventory=inventory, playbook="deploy").stdout)
    assert {host: run["changed"] for host, run in figures.items()} == {"apps12": 0, "pages12": 0}


def test_a_reference_that_is_not_there_is_named(inventory: str, guestbook: Stack) -> None:
    result = ansible(
        "--limit",
        "apps12",
        "-e",
        "app_source_ref=no-such-branch",
        inventory=inventory,
        playbook="deploy",
        check=False,
    )
    assert result.returncode != 0
    assert "app_source_ref" in result.stdout
    assert "no-such-branch" in result.stdout
    assert guestbook.get("/").status_code == 200


def test_a_managed_broker_that_throws_tasks_away_is_refused(
    inventory: str, pages: Stack, tmp_path: Path
) -> None:
    """The stack's own Redis stands for the service: what it answers is what a service would."""
    password = ansible_vault(VAULTS / "all/vault.yml")["vault_redis_password"]
    variables = tmp_path / "services.yml"
    # The same Redis by another name: otherwise it is the generation that serves, which is not asked again.
    variables.write_text(f"app_broker_url: redis://admin:{password}@localhost:6379/4\n")
    before = pids(pages)
    with broker_setting(pages, "maxmemory-policy", "allkeys-lru"):
        result = ansible(
            "--limit", "pages12", "-e", f"@{variables}", inventory=inventory, playbook="deploy", check=False
        )
    assert result.returncode != 0
    assert "eviction: the broker's maxmemory_policy is allkeys-lru" in " ".join(result.stdout.split())
    assert password not in result.stdout + result.stderr
    assert pids(pages) == before
