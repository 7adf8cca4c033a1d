"""Look at an application on this host, and take or give back the lock of those who change it.

Runs as root from standard input. Arguments: look|lock|unlock APP HOLDER EXPIRES TAKE_OVER. HOLDER is a JSON
object that names who asks, EXPIRES the seconds after which a lock counts as forgotten, TAKE_OVER the holder
(JSON, or empty) whose run is known to have ended. Prints one JSON object.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

SRV, SUPERVISOR_FILES, ETC = Path("/srv"), Path("/etc/supervisor/conf.d"), Path("/etc")
UNITS = Path("/etc/systemd/system")


def read(path: Path) -> str:
    """Content of a small file without blanks around it; empty if there is none."""
    return path.read_text().strip() if path.is_file() else ""


def target(link: Path) -> str:
    """Last part of what a link points to; empty if there is none."""
    return link.readlink().name if link.is_symlink() else ""


def holder_of(lock: TextIO) -> dict[str, Any]:
    """Who holds the lock, {} for nobody. A note that was cut off while it was written is nobody's."""
    lock.seek(0)
    try:
        return dict(json.loads(lock.read() or "{}"))
    except ValueError:
        return {}


def write(lock: TextIO, holder: dict[str, Any]) -> None:
    """Replace the note in the lock."""
    lock.seek(0)
    lock.truncate()
    lock.write(json.dumps(holder) if holder else "")
    lock.flush()


def take(lock: TextIO, asks: dict[str, Any], expires: float, ended: dict[str, Any]) -> dict[str, Any]:
    """Take the lock unless somebody else holds it: {acquired, holder, age in seconds}."""
    holder = holder_of(lock)
    since = float(holder.get("since", 0))
    who = {key: value for key, value in holder.items() if key != "since"}
    age = max(0.0, time.time() - since) if holder else 0.0
    if holder and who not in (asks, ended) and age <= expires:
        return {"acquired": False, "holder": who, "age": round(age)}
    write(lock, {**asks, "since": since if who == asks else time.time()})
    return {"acquired": True, "holder": asks, "age": 0}


def give_back(lock: TextIO, asks: dict[str, Any]) -> dict[str, Any]:
    """Give the lock back if it is one's own: {seconds for which it was held}."""
    holder = holder_of(lock)
    since = float(holder.pop("since", time.time()))
    if holder == asks:
        write(lock, {})
    return {"seconds": round(time.time() - since)}


def program_states(app: str) -> dict[str, str]:
    """State of each of the application's programs that Supervisor knows, whether a file names it or not."""
    try:
        answer = subprocess.run(["supervisorctl", "status"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return {}
    return dict(re.findall(rf"^({re.escape(app)}-\S+)\s+([A-Z]+)\b", answer.stdout, re.MULTILINE))


def look(app: str) -> dict[str, Any]:
    """What there is of an application."""
    root = SRV / app
    complete = root.glob("releases/*/.complete")
    return {
        "releases": {mark.parent.name: read(mark.parent / ".migrated") for mark in complete},
        "unfinished": sorted(
            path.name for path in root.glob("releases/*") if not (path / ".complete").exists()
        ),
        "current": target(root / "current"),
        "previous": target(root / "previous"),
        "live": read(root / "generation"),
        "generations": sorted(path.name.split(".")[1] for path in SUPERVISOR_FILES.glob(f"{app}.*.conf")),
        "programs": program_states(app),
        "configuration": target(ETC / app / "app.env"),
        # An application's name has no dot, the unit's has one after it.
        "timers": sorted(
            path.stem.partition(".")[2] for path in UNITS.glob(f"rootstock-timer-{app}.*.timer")
        ),
    }


def main(action: str, app: str, holder: str, expires: str, take_over: str) -> int:
    """Exit status: always 0, because a lock that somebody holds is for the caller to tell."""
    root = SRV / app
    if action != "look" and root.is_dir():
        asks = dict(json.loads(holder))
        with os.fdopen(os.open(root / "deploy.lock", os.O_RDWR | os.O_CREAT, 0o644), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if action == "unlock":
                print(json.dumps(give_back(lock, asks)))
                return 0
            result = take(lock, asks, float(expires), dict(json.loads(take_over or "{}")))
            if not result["acquired"]:
                print(json.dumps(result))
                return 0
    else:
        result = {"acquired": True, "holder": {}, "age": 0, "seconds": 0}
    print(json.dumps({**result, "prepared": root.is_dir(), **look(app)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
