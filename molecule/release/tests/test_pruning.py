"""What nothing uses is removed; what a draining worker runs in is not."""

from pathlib import Path

import releases
from generations import live, release, wait_until_drained
from interruption import Playbooks
from stack import APP, Stack
from traffic import ended, start_long_task

KEEP_ONE = {"django_app_releases_keep": 1}
# Longer than two deploys.
LONG_SECONDS = 90


def listed(stack: Stack, directory: str) -> set[str]:
    return set(stack.host.check_output(f"ls {directory}").split())


def test_what_drains_keeps_its_release_and_the_rest_goes(
    stack: Stack, play: Playbooks, sources: Path
) -> None:
    def deploy(tag: str) -> str:
        play.run("deploy", {"app_source": str(releases.good(sources, tag)), **KEEP_ONE})
        return release(stack)

    first, generation = deploy("pruned-1"), live(stack)
    task = start_long_task(stack, seconds=LONG_SECONDS)
    second, third = deploy("pruned-2"), deploy("pruned-3")
    assert listed(stack, f"/srv/{APP}/releases") == {first, second, third}
    # It would prove nothing if it had ended before.
    assert any(name.endswith(f".{generation}") for name in stack.programs())

    ended(stack, task, LONG_SECONDS)
    wait_until_drained(stack)
    fourth = deploy("pruned-4")
    assert listed(stack, f"/srv/{APP}/releases") == {third, fourth}
    assert len(listed(stack, f"/srv/{APP}/environments")) == 1
    assert len(listed(stack, f"/etc/{APP}/app.*.env")) == 1
    assert not [name for name in listed(stack, f"/var/log/{APP}") if f".{generation}." in name]
