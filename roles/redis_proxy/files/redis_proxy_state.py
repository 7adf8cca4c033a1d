"""Say how the proxy on this host does, and wait until it leads to a primary.

Usage: redis_proxy_state.py state REVISION | redis_proxy_state.py wait

`state` prints one JSON object:
    current   whether it runs with the configuration of this revision and its unit file, and starts at boot
    leads     whether exactly one member of the set takes connections
`wait` ends when it leads to one member. After 30 s it says instead what each member is, and exits with 1.
Runs as root on Python 3.11 or newer, standard library only.
"""

from __future__ import annotations

import csv
import json
import socket
import subprocess
import sys
import time

UNIT = "redis-proxy.service"
SOCKET = "/run/redis-proxy/admin.sock"
WAIT_SECONDS = 30.0


def ask(command: str) -> str:
    """Return HAProxy's answer to a command; "" where it does not run."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5.0)
        try:
            connection.connect(SOCKET)
            connection.sendall(f"{command}\n".encode())
            return connection.makefile(encoding="utf-8").read()
        except OSError:
            return ""


def is_current(revision: str) -> bool:
    """Whether what is written runs, now and after a boot."""
    show = ["systemctl", "show", "--property=UnitFileState,NeedDaemonReload", UNIT]
    unit = subprocess.run(show, capture_output=True, text=True, check=True).stdout.split()
    runs = f"description: {revision}" in ask("show info").splitlines()
    return runs and sorted(unit) == ["NeedDaemonReload=no", "UnitFileState=enabled"]


def members() -> dict[str, str]:
    """Return the state of each member, and what its last check has found."""
    rows = csv.DictReader(ask("show stat").removeprefix("# ").splitlines())
    return {
        # A check that is running has an asterisk before the result of the one before.
        row[
            "svname"
        ]: f"{row['status'].split()[0]} {row['check_status'].lstrip('* ')} {row['last_chk']}".strip()
        for row in rows
        if row["svname"] not in ("FRONTEND", "BACKEND")
    }


def leads(found: dict[str, str]) -> bool:
    """Whether every member was looked at, and one of them takes connections."""
    states = [state.split()[:2] for state in found.values()]
    # One that was not looked at yet counts as up for HAProxy.
    return ["UP", "INI"] not in states and [state[0] for state in states].count("UP") == 1


def main(arguments: list[str]) -> None:
    """Do what the first argument says."""
    if arguments[0] == "state":
        print(json.dumps({"current": is_current(arguments[1]), "leads": leads(members())}))
        return
    deadline = time.monotonic() + WAIT_SECONDS
    while not leads(found := members()):
        if time.monotonic() > deadline:
            states = "; ".join(f"{name}: {state}" for name, state in found.items()) or f"{UNIT} does not run"
            raise SystemExit(f"no member of the set takes writes, or more than one does ({states})")
        time.sleep(0.2)


if __name__ == "__main__":
    main(sys.argv[1:])
