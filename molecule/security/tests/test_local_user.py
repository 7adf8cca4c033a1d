"""A local user who is nobody: what the server lets it do and read."""

import base64
import json

import pytest
from testinfra.host import Host

from stack import APP, Stack

# What each answers is what the service says to a stranger; a connection that is refused would prove nothing.
DOORS = {
    "redis": ("redis-cli -p 6379 FLUSHALL", "NOAUTH"),
    "redis by name": ("redis-cli -p 6379 --user default --pass '' CONFIG GET dir", "WRONGPASS"),
    "flower": (
        "python3 -c \"import http.client as c; h = c.HTTPConnection('127.0.0.1', 5555);"
        " h.request('GET', '/flower/api/workers'); print(h.getresponse().status)\"",
        "401",
    ),
    "postgresql": (f"psql -w -h 127.0.0.1 -U {APP} {APP} -c 'SELECT 1'", "no password supplied"),
    "postgresql by socket": (f"psql -w {APP} -c 'SELECT 1'", 'role "nobody" does not exist'),
    "postgresql as its admin": ("psql -w -U postgres -c 'SELECT 1'", "Peer authentication failed"),
    "supervisor": ("supervisorctl status", "Permission denied"),
    "the application's socket": (
        "python3 -c \"import socket as s; s.socket(s.AF_UNIX).connect('/srv/APP/web.sock')\"".replace(
            "APP", APP
        ),
        "Permission denied",
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_no_service_opens_without_its_password(host: Host, door: str) -> None:
    command, answer = DOORS[door]
    result = host.run("runuser -u nobody -- sh -c %s", f"cd /; {command}")
    assert answer in result.stdout + result.stderr


READABLE = """
import json, os, sys
secrets = json.loads(sys.stdin.readline())
found, looked = [], 0
for top, directories, files in os.walk("/"):
    directories[:] = [name for name in directories if top != "/" or name not in ("proc", "sys", "usr", "dev")]
    for name in files:
        path = os.path.join(top, name)
        try:
            if os.path.isfile(path) and os.path.getsize(path) < 20_000_000:
                text = open(path, "rb").read()
                looked += 1
                found += [[path, which] for which, secret in secrets.items() if secret.encode() in text]
        except OSError:
            pass
for process in filter(str.isdigit, os.listdir("/proc")):
    for name in ("cmdline", "environ"):
        try:
            text = open(f"/proc/{process}/{name}", "rb").read()
        except OSError:
            continue
        looked += 1
        found += [[process, which] for which, secret in secrets.items() if secret.encode() in text]
print(json.dumps([looked, found]))
"""


def test_nobody_reads_a_secret_anywhere(host: Host, secrets: dict[str, str]) -> None:
    program = base64.b64encode(READABLE.encode()).decode()

    def search(user: str) -> tuple[int, list[list[str]]]:
        command = f"cd /; runuser -u {user} -- python3 /run/search.py </run/secrets.json"
        looked, found = json.loads(host.check_output(command))
        return looked, found

    host.check_output(f"echo {program} | base64 -d >/run/search.py; chmod 0644 /run/search.py")
    # Where this test itself keeps them, nobody may look.
    host.check_output("umask 077; printf %s %s >/run/secrets.json", "%s\\n", json.dumps(secrets))
    looked, found = search("nobody")
    assert looked > 500
    assert found == []
    # As root the same search finds them where they belong; of the one there is only a hash.
    assert {which for _, which in search("root")[1]} >= set(secrets) - {"vault_flower_password"}


def test_the_application_may_not_do_more_in_redis_than_its_programs_do(stack: Stack) -> None:
    refused = (
        "import os, redis\n"
        "server = redis.Redis.from_url(os.environ['CELERY_BROKER_URL'])\n"
        "def is_refused(command):\n"
        "    try:\n"
        "        server.execute_command(*command.split())\n"
        "    except redis.exceptions.NoPermissionError:\n"
        "        return True\n"
        "    return False\n"
        "print(json.dumps([command for command in arguments['commands'] if not is_refused(command)]))"
    )
    commands = ["FLUSHALL", "FLUSHDB", "CONFIG GET dir", "KEYS *", "ACL LIST", "MONITOR", "SHUTDOWN NOSAVE"]
    # The others have been refused nothing so far; what follows is left out of the account.
    assert [each for each in stack.denied() if not each.startswith("default: AUTH")] == []
    try:
        for purpose in ("", "WORKER", "BEAT", "FLOWER"):
            assert stack.python(refused, {"commands": commands}, purpose) == [], purpose
    finally:
        stack.redis("server.acl_log_reset()\nprint(1)")


def test_who_runs_a_service_cannot_log_in(host: Host) -> None:
    for user in (APP, "redis", "postgres", "www-data"):
        shell = host.check_output(f"getent passwd {user}").rsplit(":", 1)[1]
        locked = host.check_output(f"passwd --status {user}").split()[1]
        assert locked == "L", user
        # Debian gives PostgreSQL's user a shell, which its own tools need.
        assert shell.endswith(("nologin", "false")) or user == "postgres", user


def test_a_release_cannot_be_changed_by_who_runs_it(host: Host, stack: Stack) -> None:
    assert host.run(f"runuser -u {APP} -- find -L /srv/{APP}/current -maxdepth 3 -writable").stdout == ""
    assert host.run(f"runuser -u {APP} -- touch /srv/{APP}/current/x").rc != 0
