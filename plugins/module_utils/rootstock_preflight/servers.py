"""Rules about what servers have: memory, disk, distribution, Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from build_release import refusal
from release_archive import ReleaseError, find_requirements, read_requires_python

from .memory import budget, size
from .model import APP_GROUPS, Host, Inventory
from .problems import WAIVABLE, Problem

# Of a server's RAM the firmware and the kernel keep up to 7 %: one sold with 4 GiB shows as little as 3.72.
# The budget has the kernel's part in it already.
SHOWN_PART = 0.93
LEAST_FREE_KIB = 1024 * 1024
DEBIAN = ("12", "13")
OLDEST_PYTHON = [3, 9]

Facts = Mapping[str, Any]


def mib(kib: float) -> str:
    """Return KiB as MiB."""
    return f"{kib / 1024:.0f} MiB"


def memory(
    inventory: Inventory, hosts: list[Host], facts: Facts, pool_defaults: dict[str, Any]
) -> Iterator[Problem]:
    """Refuse a server that its programs could overfill."""
    needed = budget(hosts, pool_defaults)
    total = sum(needed.values())
    if total > facts["memory_kib"] / SHOWN_PART:
        parts = ", ".join(f"{name} {mib(kib)}" for name, kib in needed.items())
        has = mib(facts["memory_kib"])
        says = f"The programs may take {mib(total)} at the same time ({parts}); the server has {has}."
        fix = (
            "lower concurrency or max_memory_per_child in celery_worker_pools, "
            "set generation_strategy: drain_first, or take a larger server"
        )
        yield inventory.problem("memory", "celery_worker_pools", hosts, says, fix)


def disk(inventory: Inventory, hosts: list[Host], facts: Facts, _: dict[str, Any]) -> Iterator[Problem]:
    """Refuse a server whose disk a release or Redis would fill."""
    for path, free in facts["disk_kib"].items():
        needed, variable = LEAST_FREE_KIB, "disk"
        redis = [host for host in hosts if host.is_in("redis")][:1] if path == "/var/lib" else []
        for host in redis:
            # The file, and its successor while it is rewritten; what is there already needs no more room.
            file = 2 * size(host.get("redis_maxmemory")) - facts["redis_kib"]
            needed, variable = max((needed, variable), (file, "redis_maxmemory"))
        if free < needed:
            says = f"{path} has {mib(free)} free, and {mib(needed)} are needed."
            yield inventory.problem(
                "disk", variable, hosts, says, "free some space, or enlarge the file system"
            )


def distribution(
    inventory: Inventory, hosts: list[Host], facts: Facts, _: dict[str, Any]
) -> Iterator[Problem]:
    """Refuse a server of another system than those that are tested."""
    if facts["id"] != "debian" or facts["version"] not in DEBIAN:
        has = f"{facts['id']} {facts['version']}"
        says = f"The server runs {has}; the roles are for Debian {' and '.join(DEBIAN)}."
        yield inventory.problem("distribution", "distribution", hosts, says, "install one of these")


def one_release(inventory: Inventory, facts: Mapping[str, Facts]) -> Iterator[Problem]:
    """Refuse a set of Redis of several versions."""
    members = [host for host in inventory.redis_set() if host.name in facts]
    versions = sorted({facts[host.name]["version"] for host in members})
    if len(versions) > 1:
        says = (
            f"The Redis of one set are on Debian {' and '.join(versions)}: an older Redis cannot be the"
            " replica of a newer one, so there would be none after a failover."
        )
        fix = "give all of them the same Debian"
        yield inventory.problem("distribution", "distribution", members, says, fix)


def python(inventory: Inventory, hosts: list[Host], facts: Facts, _: dict[str, Any]) -> Iterator[Problem]:
    """Refuse a server whose Python is too old for the scripts that run there."""
    if facts["python"] < OLDEST_PYTHON:
        has, oldest = (".".join(map(str, version)) for version in (facts["python"], OLDEST_PYTHON))
        says = f"The server's python3 is {has}; {oldest} is the oldest that will do."
        yield inventory.problem("python", "python", hosts, says, "install a newer python3, or a newer Debian")


def requires_python(
    inventory: Inventory, hosts: list[Host], facts: Facts, _pools: dict[str, Any]
) -> Iterator[Problem]:
    """Refuse a project that is for another Python than the one that it would run on."""
    for host in hosts:
        source, wanted = Path(str(host.get("app_source"))), str(host.get("django_app_python"))
        # A package's own is known when it is installed, a repository's when it is fetched.
        if not host.is_in(*APP_GROUPS) or not (source.is_absolute() and source.is_dir()):
            continue
        try:
            name = str(host.get("django_app_requirements_file")) or find_requirements(source)
            specifiers = read_requires_python(source, name)
        except (ReleaseError, OSError, UnicodeDecodeError):
            # The release is refused with what is wrong with these files.
            continue
        found = ".".join(map(str, facts["python"]))
        # Which patch of a Python that is yet to be installed is not known.
        versions = [wanted, *(f"{wanted}.{patch}" for patch in range(40))] if wanted else [found]
        origin = "django_app_python" if wanted else "Debian's"
        said = [refusal("the application", specifiers, version, origin) for version in versions]
        if all(said):
            says, _, fix = said[0].partition(" Fix: ")
            yield inventory.problem("requires-python", "django_app_python", [host], says, fix)


RULES_OF_SERVERS: dict[str, Callable[[Inventory, list[Host], Facts, dict[str, Any]], Iterator[Problem]]] = {
    "memory": memory,
    "disk": disk,
    "distribution": distribution,
    "python": python,
    "requires-python": requires_python,
}


def problems_of_servers(
    inventory: Inventory, facts: Mapping[str, Facts], pool_defaults: dict[str, Any]
) -> list[Problem]:
    """Return all problems of the servers that were asked; `facts` has what each host of the run said."""
    found: list[Problem] = []
    for hosts in inventory.servers().values():
        asked = [host for host in hosts if host.name in facts]
        if not asked:
            continue
        waived = {rule for host in hosts for rule in host.get("preflight_waived") or [] if rule in WAIVABLE}
        for name, rule in RULES_OF_SERVERS.items():
            if name not in waived:
                found += rule(inventory, hosts, facts[asked[0].name], pool_defaults)
    if not any("distribution" in (host.get("preflight_waived") or []) for host in inventory.redis_set()):
        found += one_release(inventory, facts)
    return [
        Problem(**{**vars(problem), "fix": f"{problem.fix}; or set preflight_waived: [{problem.rule}]"})
        if problem.rule in WAIVABLE
        else problem
        for problem in found
    ]
