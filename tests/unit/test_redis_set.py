"""What runs on the members of a set of Redis and on those that use it: what it makes of what it is told."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from repository import PROJECT, source_module

PROGRAM = PROJECT / "roles/redis/files/usr/local/lib/rootstock/redis-primary"
UP, INITIAL, DOWN = "UP L7OK", "UP INI", "DOWN L7RSP TCPCHK did not match content 'role:master' at step 4"


@pytest.mark.parametrize(
    ("members", "leads"),
    [
        ([UP, DOWN, DOWN], True),
        ([DOWN, "UP L7OK (tcp-check)", "DOWN L4CON Connection refused"], True),
        ([DOWN, DOWN, DOWN], False),
        ([UP, UP, DOWN], False),
        # Not looked at yet: HAProxy takes it for one that is up.
        ([INITIAL, DOWN, DOWN], False),
        ([], False),
    ],
)
def test_the_proxy_leads_to_one_member(members: list[str], leads: bool) -> None:
    module = source_module("roles/redis_proxy/files/redis_proxy_state.py")
    assert module.leads({f"data{number}": state for number, state in enumerate(members)}) == leads


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program that compares what runs with what is written; a Sentinel's files are made up."""
    module = source_module("roles/redis/files/redis_state.py")
    monkeypatch.setattr(module, "SENTINEL_WRITTEN", tmp_path / "written")
    monkeypatch.setattr(module, "SENTINEL_RUNNING", tmp_path / "running")
    return module


def test_whose_replica_it_is_is_no_difference(state: Any, tmp_path: Path) -> None:
    conf, role = tmp_path / "redis.conf", tmp_path / "replication.conf"
    conf.write_text(f"include {role}\nport 0\nmaxmemory 1mb\n")
    expected = {"port": "0", "maxmemory": "1048576"}
    assert state.written(str(conf)) == expected
    role.write_text("replicaof 192.0.2.1 6379\n")
    assert state.written(str(conf)) == expected


def test_a_sentinel_runs_with_what_its_file_is_made_of(state: Any) -> None:
    state.SENTINEL_WRITTEN.write_text("#\n# Ansible\n#\n# revision 0123456789ab\nport 0\n")
    assert not state.is_made_of_written()
    state.SENTINEL_RUNNING.write_text("# revision 0123456789ab\nport 0\nsentinel current-epoch 7\n")
    assert state.is_made_of_written()
    state.SENTINEL_RUNNING.write_text("# revision 000000000000\nport 0\n")
    assert not state.is_made_of_written()


@pytest.mark.parametrize(
    ("info", "replicas", "whole"),
    [
        ("role:slave\nmaster_link_status:up\nmaster_sync_in_progress:0", False, True),
        ("role:slave\nmaster_link_status:down\nmaster_sync_in_progress:0", False, False),
        ("role:slave\nmaster_link_status:down\nmaster_sync_in_progress:1", False, False),
        ("role:master\nmin_slaves_good_slaves:0", False, True),
        ("role:master\nmin_slaves_good_slaves:0", True, False),
        ("role:master\nmin_slaves_good_slaves:1", True, True),
        ("role:master", True, True),
        ("", False, False),
    ],
)
def test_a_member_is_whole(
    state: Any, monkeypatch: pytest.MonkeyPatch, info: str, replicas: bool, whole: bool
) -> None:
    monkeypatch.setattr(state, "replication", lambda _: state.lines_of(info))
    assert state.is_whole({}, replicas) == whole


def test_newer_certificates_are_a_difference(state: Any, tmp_path: Path) -> None:
    file = tmp_path / "members.crt"
    file.touch()
    written = file.stat().st_mtime
    settings = {"tls-ca-cert-file": str(file)}

    def info(started: float) -> str:
        return f"server_time_usec:{round((started + 100) * 1e6)}\nuptime_in_seconds:100"

    assert state.has_older_authorities(settings, info(written - 5))
    assert not state.has_older_authorities(settings, info(written + 5))
    assert not state.has_older_authorities({}, info(written - 5))


# --- redis-primary, with Sentinels that are made up: a redis-cli that answers by the address it is asked for.

CLI = """#!/bin/sh
while [ "$1" != -h ]; do shift; done
cat "$ANSWERS/$2" 2>/dev/null
"""


@pytest.mark.parametrize(
    ("answers", "last", "primary"),
    [
        (["192.0.2.2", "192.0.2.2", "192.0.2.1"], "192.0.2.1", "192.0.2.2"),
        (["192.0.2.2", "192.0.2.2"], "192.0.2.1", "192.0.2.2"),
        # One of three is no majority, whatever it says: then it is who was said last.
        (["192.0.2.2"], "192.0.2.3", "192.0.2.3"),
        (["192.0.2.2"], "", "192.0.2.1"),
        (["IDONTKNOW", "192.0.2.2", "192.0.2.2"], "", "192.0.2.2"),
        ([], "", "192.0.2.1"),
    ],
)
def test_the_primary_is_who_most_say_it_is(
    tmp_path: Path, answers: list[str], last: str, primary: str
) -> None:
    (tmp_path / "answers").mkdir()
    for number, answer in enumerate(answers, 1):
        (tmp_path / f"answers/192.0.2.{number}").write_text(f"{answer}\n6379\n")
    (tmp_path / "redis-cli").write_text(CLI)
    (tmp_path / "redis-cli").chmod(0o755)
    (tmp_path / "sentinel.env").write_text(
        "ADDRESSES='192.0.2.1 192.0.2.2 192.0.2.3'\nOWN_ADDRESS=192.0.2.1\nREDIS_PORT=6379\n"
        "SENTINEL_PORT=26379\nQUORUM=2\nSENTINEL_PASSWORD=of-a-test\n"
    )
    if last:
        (tmp_path / "own.conf").write_text(f"# revision a\nsentinel monitor rootstock {last} 6379 2\n")
    program = PROGRAM.read_text().replace("/etc/redis/sentinel.env", str(tmp_path / "sentinel.env"))
    program = program.replace("/var/lib/redis/sentinel.conf", str(tmp_path / "own.conf"))
    assert program.count(str(tmp_path)) >= 2
    # Nobody is waited for: there is nobody.
    program = program.replace("start_seconds=10", "start_seconds=0")
    done = subprocess.run(
        ["sh", "-s"],
        input=program,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "ANSWERS": str(tmp_path / "answers")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{primary}\n"
