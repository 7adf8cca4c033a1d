"""What runs cost, beside what Ansible itself costs in the same minutes: the short form of `make bench`."""

from pathlib import Path

import pytest

import common
import unchanged
from generations import wait_until_drained
from releases import good
from stack import Stack

# Measured: 1.7 to 2.1, and 0.65. The limits are a fifth and half as much again; a slow machine keeps ratios.
MOST_OF_PINGS = 2.5
MOST_OF_A_RUN = 1.0


@pytest.fixture(scope="module")
def runs(inventory: str, stack: Stack, sources: Path) -> dict[str, common.Played]:
    """A deploy of new code, and after it a whole run, which has nothing to do."""
    variables = {"app_source": str(good(sources, "costs"))}
    wait_until_drained(stack)
    deploy = common.play("playbooks/deploy.yml", Path(inventory), variables)
    assert deploy.total("changed") > 0, deploy.output
    wait_until_drained(stack)
    return {"deploy": deploy, "site": common.play("playbooks/site.yml", Path(inventory), variables)}


def test_a_run_that_changes_nothing(inventory: str, runs: dict[str, common.Played], tmp_path: Path) -> None:
    site = common.unchanged(runs["site"])
    pings = common.play(unchanged.pings(tmp_path / "pings.yml", site.total("ok")), Path(inventory))
    assert site.seconds < MOST_OF_PINGS * pings.seconds


def test_a_deploy(runs: dict[str, common.Played]) -> None:
    assert runs["deploy"].seconds < MOST_OF_A_RUN * runs["site"].seconds
