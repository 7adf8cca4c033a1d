"""Tell which commands, keys and channels Redis has refused to an application's users since a moment.

Usage: denials.py keep APP       notes what was refused before a deploy
       denials.py compare APP    prints what was refused since; exit status 1 if that is anything

Redis' ACL LOG keeps the last refusals and not who of an old and a new generation was refused. So what was
refused before the deploy is no finding, unless a deploy has failed because of it.
Runs as root on a server of Redis, with redis-cli. The password of the user admin is read from
/etc/redis/rootstock.env: it is no argument and is not printed.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CONFIGURATIONS = ("/etc/redis/redis.conf", "/etc/redis/redis-cache.conf")
PASSWORDS = Path("/etc/redis/rootstock.env")
PURPOSES = ("app", "worker", "beat", "flower", "cache")
#: Redis counts the age of a refusal in its own time: a deploy that has just begun may be rounded.
ROUNDING_SECONDS = 1.0


@dataclass(frozen=True, order=True)
class Denial:
    """What was refused to whom: `reason` is command, key, channel, database or auth (ACL LOG)."""

    user: str
    reason: str
    what: str

    def __str__(self) -> str:
        if self.reason == "auth":
            return (
                f"Redis refused the password of its user {self.user} during this deploy: the application has "
                "another one than the inventory. Fix: let it read the URLs from the environment, unchanged."
            )
        signs = {"command": "+", "key": "~", "channel": "&"}
        rule = signs.get(self.reason, "+") + (self.what.lower() if self.reason == "command" else self.what)
        return (
            f"app_redis_rules lacks {rule}: Redis refused the {self.reason} {self.what} to its user "
            f'{self.user} during this deploy. Fix: write app_redis_rules: ["{rule}"] into the inventory, '
            "then type make site (docs/tasks/redis-rights.md)."
        )


def settings(path: str) -> dict[str, str]:
    """The directives of a configuration of Redis, without what it includes."""
    lines = [shlex.split(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {words[0]: words[1] for words in lines if len(words) > 1 and words[0] != "#"}


def address(found: dict[str, str]) -> list[str]:
    """The options with which redis-cli reaches the instance of these directives."""
    options = ["-h", found["bind"].removeprefix("-"), "-p", found.get("tls-port", found["port"])]
    return options + (["--tls", "--cacert", found["tls-cert-file"]] if "tls-port" in found else [])


def logged(path: str, app: str) -> dict[Denial, float]:
    """What an instance has refused to the application's users, and how long ago for the last time (seconds).

    Raises CalledProcessError where Redis does not answer.
    """
    secrets = dict(
        line.split("=", 1) for line in shlex.split(PASSWORDS.read_text(encoding="utf-8"), comments=True)
    )
    answer = subprocess.run(
        ["redis-cli", *address(settings(path)), "--user", "admin", "--json", "ACL", "LOG", "128"],
        env={**os.environ, "REDISCLI_AUTH": secrets["REDIS_ADMIN_PASSWORD"]},
        check=True,
        capture_output=True,
        text=True,
    )
    users = {f"{app}-{purpose}" for purpose in PURPOSES}
    found: dict[Denial, float] = {}
    for entry in json.loads(answer.stdout):
        if entry["username"] in users:
            denial = Denial(entry["username"], entry["reason"], entry["object"])
            found[denial] = min(found.get(denial, float("inf")), float(entry["age-seconds"]))
    return found


def denials(app: str) -> dict[Denial, float]:
    """Likewise of all instances of this server."""
    found: dict[Denial, float] = {}
    for path in CONFIGURATIONS:
        if Path(path).exists():
            for denial, age in logged(path, app).items():
                found[denial] = min(found.get(denial, float("inf")), age)
    return found


def keep(app: str, note: Path, now: float) -> None:
    """Writes down what was refused until now. What has made a deploy fail is left out."""
    failed = set(json.loads(note.read_text())["failed"]) if note.exists() else set()
    before = [str(denial) for denial in sorted(denials(app)) if str(denial) not in failed]
    note.write_text(json.dumps({"at": now, "before": before, "failed": sorted(failed)}))


def compare(app: str, note: Path, now: float) -> list[str]:
    """What was refused since `keep`, in sentences. Raises FileNotFoundError without its note."""
    kept = json.loads(note.read_text())
    elapsed = now - kept["at"] + ROUNDING_SECONDS
    found = [
        str(denial)
        for denial, age in sorted(denials(app).items())
        if age <= elapsed and str(denial) not in kept["before"]
    ]
    note.write_text(json.dumps({**kept, "failed": found}))
    return found


def main(action: str, app: str) -> int:
    """Exit status: 1 if anything was refused, or if Redis does not answer."""
    note = Path(f"/run/rootstock-denials-{app}.json")
    try:
        if action == "keep":
            keep(app, note, time.time())
            return 0
        found = compare(app, note, time.time())
    except subprocess.CalledProcessError as error:
        print(f"Redis does not tell what it has refused: {error.stderr.strip()}", file=sys.stderr)
        return 1
    print("\n".join(found), file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
