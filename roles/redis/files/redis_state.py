"""Compare what this host's Redis instances run with against what is written, and restart them.

Usage: redis_state.py compare|restart CONFIGURATION=UNIT...

`compare` changes nothing and prints one JSON object:
    restart        units that do not run, are not enabled or run with other values than their files say
    why            for each of them, what differs (names of directives, never values)
    reload         whether systemd has not read a changed unit file yet
    kernel         whether vm.overcommit_memory is not 1
    cache_left     whether anything of a cache instance is there
    sentinel_left  whether anything of a Sentinel is there
`restart` restarts the given units, or has them read their users where nothing else differs, and exits with 1
unless each of them answers, within 30 s, with what is written. A member of a set of Redis has its data then,
and the replicas that it had. The password of the user admin is read from /etc/redis/rootstock.env: it is no
argument and is not printed.
Runs as root on Python 3.11 or newer, standard library only.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

CACHE_UNIT = "redis-server@cache.service"
CACHE_FILES = (
    "/etc/redis/redis-cache.conf",
    "/etc/redis/users-cache.acl",
    f"/etc/systemd/system/{CACHE_UNIT}.d",
)
# Of Sentinel: what the role writes, and the file that is made of it.
SENTINEL_WRITTEN, SENTINEL_RUNNING = Path("/etc/redis/sentinel.conf"), Path("/var/lib/redis/sentinel.conf")
SENTINEL_UNIT = "redis-sentinel.service"
SENTINEL_FILES = (
    f"/etc/systemd/system/{SENTINEL_UNIT}.d/rootstock.conf",
    "/etc/systemd/system/redis-server.service.d/rootstock-sentinel.conf",
    str(SENTINEL_RUNNING),
)
PASSWORDS = Path("/etc/redis/rootstock.env")
USERS = "users"
AUTHORITIES = "tls-ca-cert-file"
UNITS = {"k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}
ANSWER_SECONDS = 30.0
REWRITE_SECONDS = 600.0
SYNC_SECONDS = 600.0

Reply = str | list["Reply"]
Settings = dict[str, str]


class RefusedError(Exception):
    """Redis answered with an error."""


def canonical(value: str) -> str:
    """Return a value as CONFIG GET prints it: sizes in bytes."""
    match = re.fullmatch(r"(\d+)(kb|mb|gb|k|m|g)", value.lower())
    return str(int(match[1]) * UNITS[match[2]]) if match else value


def written(path: str) -> Settings:
    """Return the directives of a configuration file and of the files that it includes.

    Whose replica it is, is no question of what is written: the Sentinels say it.
    """
    settings: Settings = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, *values = shlex.split(line)
        if name == "include":
            # One that is made when the unit starts is not there before.
            settings |= written(values[0]) if Path(values[0]).exists() else {}
        elif name != "replicaof":
            settings[name] = canonical(" ".join(values))
    return settings


def written_users(path: str) -> set[str]:
    """Return the users of an ACL file. The name of one of them changes with the rules of all."""
    return {line.split()[1] for line in Path(path).read_text(encoding="utf-8").splitlines() if line}


class Connection:
    """One connection to Redis, just enough of RESP2. Raises OSError where nobody answers.

    With TLS nobody answers either as long as Redis shows another certificate than the written one.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        port = int(settings.get("tls-port", settings["port"]))
        self.socket = socket.create_connection((settings["bind"].split()[0].removeprefix("-"), port), 5.0)
        if "tls-port" in settings:
            context = ssl.create_default_context(cafile=settings["tls-cert-file"])
            # The certificate is this very one, whatever names are in it.
            context.check_hostname = False
            self.socket = context.wrap_socket(self.socket)
        self.stream: BinaryIO = self.socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.socket.close()

    def authenticate(self) -> None:
        """Be admin from now on. Raises RefusedError for a password that is not the written one."""
        if is_sentinel(self.settings):
            self.ask("AUTH", self.settings["requirepass"])
            return
        values = dict(
            line.split("=", 1) for line in shlex.split(PASSWORDS.read_text(encoding="utf-8"), comments=True)
        )
        self.ask("AUTH", "admin", values["REDIS_ADMIN_PASSWORD"])

    def ask(self, *words: str) -> Reply:
        """Send one command and return its answer. Raises RefusedError for an error reply."""
        encoded = [word.encode() for word in words]
        self.socket.sendall(
            b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        )
        return self._reply()

    def _reply(self) -> Reply:
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise RefusedError(rest)
        if kind == b"$":
            return self.stream.read(int(rest) + 2)[:-2].decode() if rest != "-1" else ""
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return rest


def differences(settings: Settings) -> list[str]:
    """Return the names of the directives that Redis runs with otherwise than written; [] means none."""
    try:
        with Connection(settings) as redis:
            redis.authenticate()
            if redis.ask("PING") != "PONG":
                return ["no answer to PING"]
            found = [AUTHORITIES] if has_older_authorities(settings, str(redis.ask("INFO", "server"))) else []
            if is_sentinel(settings):
                return found if is_made_of_written() else [*found, "configuration"]
            flat = redis.ask("CONFIG", "GET", *settings)
            listed = redis.ask("ACL", "USERS")
    except RefusedError as error:
        # Its first word is the kind of error; the rest might quote what was sent.
        return [f"refused: {str(error).split()[0]}"]
    except OSError as error:
        return [f"no answer: {error.strerror or error}"]
    pairs = iter(flat)
    running = {str(name): str(value) for name, value in zip(pairs, pairs, strict=True)}
    found += sorted(name for name, value in settings.items() if running.get(name) != value)
    if {str(name) for name in listed} != written_users(settings["aclfile"]):
        found.append(USERS)
    return found


def is_sentinel(settings: Settings) -> bool:
    """Whether these directives are a Sentinel's."""
    return "sentinel" in settings


def is_made_of_written() -> bool:
    """Whether the file that Sentinel runs with is made of the written one."""
    return SENTINEL_RUNNING.exists() and len({revision(SENTINEL_WRITTEN), revision(SENTINEL_RUNNING)}) == 1


def revision(path: Path) -> str:
    """Return which settings a Sentinel's file is made of, which a comment in it says; "" if none does."""
    found = re.search(r"^# revision (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def lines_of(info: str) -> Settings:
    """Return what INFO has answered."""
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line)


def has_older_authorities(settings: Settings, info: str) -> bool:
    """Whether whom it accepts, which it reads when it starts, is newer. `info` is INFO server."""
    if AUTHORITIES not in settings:
        return False
    server = lines_of(info)
    started = int(server["server_time_usec"]) / 1e6 - int(server["uptime_in_seconds"])
    return Path(settings[AUTHORITIES]).stat().st_mtime > started


def replication(settings: Settings) -> Settings:
    """Return the lines of INFO replication; {} where nobody answers."""
    try:
        with Connection(settings) as redis:
            redis.authenticate()
            return lines_of(str(redis.ask("INFO", "replication")))
    except (OSError, RefusedError):
        return {}


def is_whole(settings: Settings, replicas: bool) -> bool:
    """Whether a Redis has its data and, if it is a primary and shall have one, a replica that has it too."""
    info = replication(settings)
    if info.get("role") == "slave":
        return info["master_link_status"] == "up" and info["master_sync_in_progress"] == "0"
    return bool(info) and not (replicas and info.get("min_slaves_good_slaves") == "0")


def keep_data(settings: Settings) -> None:
    """Have a Redis that ran without append-only file write one before it starts with one.

    It would start empty: with `appendonly yes` the snapshot is not read. Raises SystemExit where there is
    a snapshot and no running Redis that could be asked.
    """
    if settings.get("appendonly") != "yes" or Path(settings["dir"], settings["appenddirname"]).exists():
        return
    try:
        with Connection(settings) as redis:
            try:
                redis.ask("PING")
            except RefusedError:
                redis.authenticate()
            redis.ask("CONFIG", "SET", "appendonly", "yes")
            deadline = time.monotonic() + REWRITE_SECONDS
            while "aof_rewrite_in_progress:0" not in (persistence := str(redis.ask("INFO", "persistence"))):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            if re.search(r"aof_rewrite_(in_progress|scheduled):1|aof_last_bgrewrite_status:err", persistence):
                raise SystemExit("Redis could not write its append-only file: it was left running as it is")
    except (OSError, RefusedError):
        snapshot = Path(settings["dir"], settings["dbfilename"])
        if snapshot.exists():
            raise SystemExit(
                f"{snapshot} holds data that Redis would not load, because from now on it starts with an "
                "append-only file. Start Redis with its old configuration, run CONFIG SET appendonly yes and "
                "then this again; or move the file away."
            ) from None


def systemctl(*words: str) -> str:
    """Run systemctl and return its output. Raises SystemExit with its message where it fails."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"systemctl {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def last_words(unit: str, settings: Settings) -> str:
    """Return the newest lines of a unit's journal and log."""
    journal = ["journalctl", "--unit", unit, "--lines", "5", "--output", "cat", "--no-pager"]
    lines = subprocess.run(journal, capture_output=True, text=True, check=False).stdout.splitlines()
    log = Path(settings["logfile"])
    if log.is_file():
        lines += log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    return "\n".join(lines)


def unit_properties(units: list[str]) -> dict[str, Settings]:
    """Return the systemd properties of the units, by unit."""
    names = "Id,ActiveState,UnitFileState,NeedDaemonReload"
    blocks = systemctl("show", "--property", names, *units).strip().split("\n\n")
    parsed = [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]
    return {properties["Id"]: properties for properties in parsed}


def compare(instances: dict[str, str]) -> dict[str, object]:
    """Return the state of the host; the keys are in the description of this file."""
    properties = unit_properties([*instances, CACHE_UNIT])
    why: dict[str, list[str]] = {}
    for unit, path in instances.items():
        found = differences(written(path))
        if properties[unit]["UnitFileState"] != "enabled":
            found.append("not enabled")
        if found:
            why[unit] = found
    cache = properties[CACHE_UNIT]
    return {
        "restart": list(why),
        "why": why,
        "reload": any(properties[unit]["NeedDaemonReload"] == "yes" for unit in instances),
        "kernel": Path("/proc/sys/vm/overcommit_memory").read_text(encoding="ascii").strip() != "1",
        "cache_left": cache["ActiveState"] == "active"
        or cache["UnitFileState"] == "enabled"
        or any(Path(path).exists() for path in CACHE_FILES),
        "sentinel_left": any(Path(path).exists() for path in SENTINEL_FILES),
    }


def restart(instances: dict[str, str]) -> None:
    """Restart the units, wait until each runs with what is written. Raises SystemExit where one does not."""
    systemctl("daemon-reload")
    for unit, path in instances.items():
        settings = written(path)
        keep_data(settings)
        systemctl("--quiet", "enable", unit)
        if differences(settings) == [USERS]:
            with Connection(settings) as redis:
                redis.authenticate()
                redis.ask("ACL", "LOAD")
            continue
        had_replicas = replication(settings).get("min_slaves_good_slaves", "0") != "0"
        try:
            systemctl("restart", unit)
        except SystemExit as error:
            raise SystemExit(f"{error}\n{last_words(unit, settings)}") from None
        deadline = time.monotonic() + ANSWER_SECONDS
        while found := differences(settings):
            if time.monotonic() > deadline:
                raise SystemExit(f"{unit} does not run with what {path} says: {', '.join(found)}")
            time.sleep(0.1)
        # The next member is restarted after this one.
        deadline = time.monotonic() + SYNC_SECONDS
        while not is_sentinel(settings) and not is_whole(settings, had_replicas):
            if time.monotonic() > deadline:
                raise SystemExit(f"{unit} has no whole copy of the data, or no replica that has: see its log")
            time.sleep(0.1)


def main(arguments: list[str]) -> None:
    """Do what the first argument says to the instances that the others name."""
    action, *pairs = arguments
    instances = {unit: path for path, unit in (pair.split("=", 1) for pair in pairs)}
    if action == "compare":
        print(json.dumps(compare(instances)))
    else:
        restart(instances)


if __name__ == "__main__":
    main(sys.argv[1:])
