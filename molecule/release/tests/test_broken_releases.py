"""Releases that must not go live: the run fails and says why, and nobody notices anything."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import releases
from generations import LOCK, files, generations, live, nodes, pids, release, wait_until_drained
from interruption import Playbooks
from prober import Prober
from stack import APP, Stack
from traffic import QUEUES, Producer

BROKEN: dict[Callable[[Path], Path], str] = {
    releases.import_error: r"No module named 'no_such_module'",
    releases.settings_error: r"settings that cannot be",
    releases.error_500: r"django_app_readiness_path is /readyz: .*500",
    releases.never_ready: r"django_app_readiness_path is /readyz: .*no answer",
    releases.page_error: r"django_app_smoke_paths has / .*500",
    releases.cache_on_broker: r"CACHES\['default'\] of the settings is database 1 .* the broker of Celery",
    releases.denied_command: r"app_redis_rules lacks .config.get: .* user shop-cache",
    releases.worker_cannot_start: r"this worker cannot start",
    releases.unconsumed_queue: r"\bbulk\b",
    releases.failing_migration: r"0003_fails.*no_such_column",
}
# What waits for a program that will never be ready need not wait long.
PATIENCE = {"django_app_ready_timeout": 15, "celery_ready_timeout": 15}


@dataclass
class Traffic:
    """What goes on meanwhile."""

    prober: Prober
    producer: Producer


@pytest.fixture(scope="module")
def traffic(stack: Stack) -> Iterator[Traffic]:
    wait_until_drained(stack)
    with Prober(stack) as prober, Producer(stack) as producer:
        yield Traffic(prober, producer)


def schema(stack: Stack) -> str:
    """The database's schema and the migrations that it says were applied."""
    dump = stack.host.check_output(
        f"runuser -u postgres -- pg_dump --schema-only {APP} && "
        f"runuser -u postgres -- psql --no-psqlrc {APP} --command 'TABLE django_migrations'"
    )
    # Newer versions of pg_dump write a random key.
    return "\n".join(line for line in dump.splitlines() if "restrict " not in line)


@pytest.mark.parametrize(("broken", "cause"), BROKEN.items(), ids=lambda case: getattr(case, "__name__", ""))
def test_a_broken_release_is_refused_and_the_old_one_serves(
    stack: Stack,
    play: Playbooks,
    sources: Path,
    traffic: Traffic,
    broken: Callable[[Path], Path],
    cause: str,
) -> None:
    def state() -> dict[str, object]:
        return {
            "live": (live(stack), release(stack)),
            "processes": pids(stack),
            "programs": stack.programs(),
            "files": files(stack),
            "schema": schema(stack).splitlines(),
        }

    wait_until_drained(stack, 60)
    before, begun = state(), time.time()
    run = play.fail("deploy", {"app_source": str(broken(sources)), **PATIENCE})
    run.says(cause)
    if broken is releases.denied_command:
        # All others are denied nothing, which is asked at the end.
        assert stack.denied()
        stack.redis("server.acl_log_reset()\nprint(1)")
    # The processes that never answer have the time that Gunicorn gives to requests.
    wait_until_drained(stack, 60)
    assert state() == before
    assert nodes(stack) == {f"{queue}.{live(stack)}" for queue in QUEUES}
    assert generations(stack) == {live(stack)}
    assert stack.host.check_output(f"cat {LOCK}") == "", "the lock was not given back"
    seen = traffic.prober.result(begun)
    assert seen.sent > 20
    assert not seen.failures, seen


def test_the_next_good_release_goes_live(
    stack: Stack, play: Playbooks, sources: Path, traffic: Traffic
) -> None:
    before = live(stack)
    play.run("deploy", {"app_source": str(releases.good_migration(sources, "extra"))})
    assert live(stack) != before
    assert " extra " in schema(stack)


def test_no_request_failed_and_no_task_was_lost(traffic: Traffic) -> None:
    account, seen = traffic.producer.account(), traffic.prober.result()
    assert not seen.failures, seen
    assert account.complete, account
