"""The worker pools of the role celery: what they become, and what is refused."""

import shlex
from typing import Any

import pytest

from rendering import evaluate, trusted, variables_of
from repository import PROJECT, load, options

ROLE = PROJECT / "roles/celery"


def variables(**given: Any) -> dict[str, Any]:
    """Return the role's variables with its required ones and the given."""
    own = {
        "celery_app_name": "shop",
        "celery_application": "shop",
        "celery_runtime_version": "0123456789ab",
        "ansible_search_path": [str(ROLE)],
        **given,
    }
    found: dict[str, Any] = variables_of("celery") | trusted(own)
    return found


def programs(**given: Any) -> dict[str, dict[str, Any]]:
    """Return the programs by name, those that run beside the ones before them and those there is one of."""
    found = evaluate("{{ celery_worker_programs + celery_single_programs }}", variables(**given))
    return {program["name"]: program for program in found}


def problems(*pools: dict[str, Any], **given: Any) -> list[str]:
    """Return the complaints about pools."""
    text = evaluate(
        "{{ (__celery_problems or '') | trim }}",
        variables(celery_worker_pools=list(pools), **given),
    )
    return str(text).splitlines()


def test_the_spec_says_the_defaults_of_a_pool() -> None:
    described = options("celery")["celery_worker_pools"]["options"]
    defaults = load(ROLE / "vars/main.yml")["__celery_pool_defaults"]
    assert {name: option["default"] for name, option in described.items() if "default" in option} == defaults


def test_every_pool_is_a_program_and_the_default_pools_consume_the_three_queues() -> None:
    found = programs()
    pools = ("critical", "default", "low-priority")
    assert list(found) == [f"shop-worker-{name}.{{generation}}" for name in pools]
    for name, program in zip(pools, found.values(), strict=True):
        words = shlex.split(program["command"])
        # Beside the generation before: program, node and log are its own.
        assert {f"--hostname={name}.{{generation}}@%h", f"--queues={name}"} <= set(words)
        assert program["log_file"] == f"/var/log/shop/shop-worker-{name}.{{generation}}.log"


def times(program: dict[str, Any]) -> tuple[str, str, int]:
    """What a worker's tasks have when it is stopped, when it is replaced, and until Supervisor kills it."""
    drain = (program["environment"][f"ROOTSTOCK_{name}_SECONDS"] for name in ("DRAIN", "RETIRE"))
    return (*drain, program["stopwaitsecs"])


def test_a_worker_that_stops_longer_than_its_tasks_run_is_waited_for() -> None:
    pool = {"name": "slow", "queues": ["slow"], "time_limit": 60, "soft_time_limit": 50, "stopwaitsecs": 900}
    found = programs(celery_worker_pools=[{**pool, "drain": 800}])
    assert times(found["shop-worker-slow.{generation}"]) == ("800", "90", 900)


def test_what_a_pool_says_reaches_its_worker_and_no_other() -> None:
    pool = {
        "name": "reports",
        "queues": ["reports", "exports"],
        "concurrency": 3,
        "max_tasks_per_child": 5,
        "max_memory_per_child": 600000,
        "time_limit": 90,
        "soft_time_limit": 60,
        "prefetch_multiplier": 4,
        "drain": 20,
        "stopwaitsecs": 40,
        "log_level": "DEBUG",
    }
    found = programs(celery_worker_pools=[pool, {"name": "default", "queues": ["default"]}])
    reports, default = found["shop-worker-reports.{generation}"], found["shop-worker-default.{generation}"]
    assert {
        "--queues=reports,exports",
        "--concurrency=3",
        "--max-tasks-per-child=5",
        "--max-memory-per-child=600000",
        "--time-limit=90",
        "--soft-time-limit=60",
        "--prefetch-multiplier=4",
        "--loglevel=DEBUG",
    } <= set(shlex.split(reports["command"]))
    assert times(reports) == ("20", "120", 150)
    assert times(default) == ("540", "1830", 1860)
    assert "--concurrency=2" in shlex.split(default["command"])


def test_all_programs_have_what_the_application_gives_them() -> None:
    common = {
        "directory": "/srv/shop/releases/0123456789ab",
        "user": "shop",
        "env_files": ["/etc/shop/app.0123456789ab.env"],
        "environment": {"HOME": "/srv/shop/shared"},
    }
    found = programs(celery_program=common, celery_beat_enabled=True)
    assert len(found) == 4
    for name, program in found.items():
        assert {key: program[key] for key in common if key != "environment"}.items() <= common.items()
        # Beside what a worker has of its own.
        assert program["environment"]["HOME"] == "/srv/shop/shared"
        assert ("ROOTSTOCK_DRAIN_SECONDS" in program["environment"]) is (name != "shop-beat")


def test_another_version_of_the_runtime_package_is_another_worker() -> None:
    before, after = (programs(celery_runtime_version=version, celery_beat_enabled=True) for version in "ab")
    # Beat loads a part of it.
    assert len(before) == 4
    assert [name for name in before if before[name] == after[name]] == []


@pytest.mark.parametrize("events", [True, False])
def test_events_are_sent_only_where_somebody_listens(events: bool) -> None:
    words = shlex.split(programs(celery_task_events=events)["shop-worker-default.{generation}"]["command"])
    assert ("-E" in words) is events
    # What a worker tells of itself every two seconds.
    assert [word for word in words if word in ("--without-heartbeat", "--without-gossip")] == (
        [] if events else ["--without-heartbeat", "--without-gossip"]
    )


def test_a_host_runs_what_is_enabled_on_it() -> None:
    assert programs(celery_workers_enabled=False) == {}
    assert list(programs(celery_workers_enabled=False, celery_beat_enabled=True)) == ["shop-beat"]
    assert len(programs(celery_beat_enabled=True)) == 4


def test_the_defaults_are_accepted() -> None:
    assert problems(*variables()["celery_worker_pools"]) == []
    assert problems(celery_workers_enabled=False) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "Low Priority"}, "pool Low Priority: name is part of"),
        ({"name": "-x"}, "pool -x: name is part of"),
        ({"name": "x\n"}, "name is part of"),
        ({"queues": []}, "pool p: queues is empty"),
        ({"queues": ["a b"]}, "pool p: queues has 'a b'"),
        ({"queues": ["a,b"]}, "pool p: queues has 'a,b'"),
        ({"concurrency": 0}, "pool p: concurrency is 0: it must be at least 1"),
        ({"max_memory_per_child": -1}, "pool p: max_memory_per_child is -1"),
        ({"drain": 600}, "pool p: drain is 600: it must be less than stopwaitsecs (600)"),
        (
            {"soft_time_limit": 1800},
            "pool p: soft_time_limit is 1800: it must be less than time_limit (1800)",
        ),
        ({"time_limit": 3301}, "pool p: time_limit is 3301: celery_visibility_timeout (3600) must be"),
    ],
)
def test_bad_pools_are_refused(change: dict[str, Any], complaint: str) -> None:
    found = problems({"name": "p", "queues": ["q"], **change})
    assert complaint in "\n".join(found)
    assert problems({"name": "p", "queues": ["q"], "time_limit": 3300}) == []


def test_every_problem_is_named_at_once() -> None:
    text = "\n".join(problems({"name": "p", "queues": []}, {"name": "p", "queues": ["q"], "concurrency": 0}))
    assert "names p 2 times" in text
    assert "queues is empty" in text
    assert "concurrency is 0" in text


def test_a_host_of_workers_without_a_pool_is_refused() -> None:
    assert "celery_worker_pools is empty" in problems()[0]
