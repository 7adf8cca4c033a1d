"""What preflight asks a server for, in one round trip. It only reads, and runs with the server's own python3.

Prints JSON: memory_kib, disk_kib (free, by path), redis_kib (what Redis has on disk), id and version of the
distribution, python (its version as numbers), packages (names of those that are installed).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_kib(root: Path) -> int:
    """Return the KiB of the server's memory, or of the container's limit where that is less."""
    lines = (root / "proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
    for path in LIMITS:
        # No such cgroup, or the word max: no limit.
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int((root / path).read_text()) // 1024)
    return total


def free_kib(path: Path) -> int:
    """Return the free KiB for a path that may not be there yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free // 1024


def used_kib(directory: Path) -> int:
    """Return the KiB that the files below a directory take; 0 if it is not there."""
    total = 0
    for path in directory.rglob("*"):
        # Redis may replace a file meanwhile.
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_blocks // 2
    return total


def release(root: Path) -> dict[str, str]:
    """Return what /etc/os-release says."""
    lines = (root / "etc/os-release").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name: value.strip("\"' ") for name, _, value in pairs}


def packages() -> list[str]:
    """Return the names of the packages that dpkg has installed; none where there is no dpkg."""
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n"]
    with contextlib.suppress(FileNotFoundError):
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        return [line.split()[1] for line in lines if line.startswith("installed ")]
    return []


def main(root: Path) -> None:
    """Print everything about the system whose files are below `root`."""
    distribution = release(root)
    facts = {
        "memory_kib": memory_kib(root),
        "disk_kib": {f"/{path}": free_kib(root / path) for path in ("srv", "var/lib")},
        "redis_kib": used_kib(root / "var/lib/redis"),
        "id": distribution.get("ID", ""),
        "version": distribution.get("VERSION_ID", ""),
        "python": list(sys.version_info[:3]),
        "packages": packages(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main(Path("/"))
