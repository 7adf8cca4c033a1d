"""Hooks, and the strategy for small hosts."""

import time
from pathlib import Path

import releases
from generations import Watch, generations, live, wait_until_drained
from interruption import Playbooks
from prober import Prober
from stack import APP, Stack
from traffic import QUEUES, Producer


def hook(directory: Path, note: Path, tag: str) -> Path:
    """A task file that notes which generation is live, and whether the new release's migration is applied."""
    path = directory / f"{note.name}.yml"
    path.write_text(
        f"""- name: Note what is live
  ansible.builtin.shell: |
    cat /srv/{APP}/generation >>{note}
    runuser -u postgres -- psql {APP} --command 'TABLE django_migrations' | grep --count {tag} >>{note} || :
"""
    )
    return path


def test_hooks_run_and_a_small_host_drains_first(stack: Stack, play: Playbooks, sources: Path) -> None:
    wait_until_drained(stack)
    before, tag = live(stack), f"hooked_{time.time():.0f}"
    notes = [Path("/run") / f"{tag}-before", Path("/run") / f"{tag}-after"]
    variables = {
        "app_source": str(releases.good_migration(sources, tag)),
        "app_hook_before_migrate": str(hook(sources, notes[0], tag)),
        "app_hook_after_switch": str(hook(sources, notes[1], tag)),
        "generation_strategy": "drain_first",
    }
    # Their main processes only: Supervisor is nobody else's parent.
    workers = Watch(stack, f"--parent $(cat /run/supervisord.pid) --full 'celery -A {APP} [w]orker'")
    with Prober(stack) as prober, Producer(stack) as producer, workers:
        play.run("deploy", variables)
        account, seen = producer.account(), prober.result()
    assert account.complete, account
    assert not seen.failures, seen
    assert workers.most == len(QUEUES), "more than one generation's workers at a time"
    assert generations(stack) == {live(stack)} != {before}
    # Not again when there is nothing to deploy.
    assert play.run("deploy", variables).figures["changed"] == 0
    assert stack.host.check_output(f"cat {notes[0]}").split() == [before, "0"]
    assert stack.host.check_output(f"cat {notes[1]}").split() == [live(stack), "1"]
