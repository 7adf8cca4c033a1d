"""Rules about secrets. No message shows one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import combinations

from .model import APP_GROUPS, MARKER, Host, Inventory
from .problems import Problem

ALWAYS = ("vault_django_secret_key", "vault_flower_internal_password", "vault_flower_password")
SHORTEST = 16
# What examples have. Whole values or their beginnings: 40 random letters could have any short word in them.
EXAMPLE = re.compile(
    r"(change.?(me|it|this)|example|secret|passw(or)?d|to-?do|replace|your[-_ ]|dummy|placeholder|insecure).*"
    r"|x+|<.*>|\.{3,}|\*+",
    re.IGNORECASE,
)


def is_example(secret: str) -> bool:
    """Whether a secret is one that somebody else knows."""
    return bool(EXAMPLE.fullmatch(secret))


def needed(host: Host) -> list[str]:
    """Return the secrets that a host's plays read."""
    names: list[str] = []
    if host.is_in(*APP_GROUPS):
        names += ALWAYS
        if not host.get("app_database_url"):
            names.append("vault_postgresql_password")
    if host.is_in("redis") or (host.is_in(*APP_GROUPS) and host.uses_redis()):
        names.append("vault_redis_password")
    return names


def present(inventory: Inventory) -> Iterator[Problem]:
    """Refuse secrets that are missing, an example's, or short."""
    for host in inventory.hosts.values():
        for name in needed(host):
            if name in host.failed:
                continue
            value = host.get(name)
            if not value:
                says = f"The secret {name} is not set. It belongs into the vault file of the inventory."
                fix = f"make secrets INVENTORY={inventory.name}"
                yield inventory.problem("secret-missing", name, [host], says, fix)
            elif is_example(value) and MARKER not in value:
                says = f"{name} is an example's value, which everybody knows."
                yield inventory.problem(
                    "secret-example", name, [host], says, "generate one: openssl rand -hex 24"
                )
            elif len(value) < SHORTEST:
                says = f"{name} has {len(value)} characters: a secret has at least {SHORTEST}."
                yield inventory.problem(
                    "secret-length", name, [host], says, "generate one: openssl rand -hex 24"
                )


def usable(host: Host, name: str) -> str:
    """Return a secret that is worth a comparison; "" for any that another rule refuses or nobody reads."""
    value = str(host.get(name)) if name in needed(host) else ""
    return "" if len(value) < SHORTEST or is_example(value) else value


def repeated(inventory: Inventory) -> Iterator[Problem]:
    """Refuse one value for two secrets of an application."""
    for host in inventory.of_apps():
        for one, other in combinations(sorted(needed(host)), 2):
            if usable(host, one) and usable(host, one) == usable(host, other):
                says = f"{other} has the same value as {one}: who learns one has the other."
                yield inventory.problem(
                    "secret-repeated", other, [host], says, "generate a value for each", covers=(one,)
                )


def shared(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a secret of two applications: one could read what is the other's."""
    for name in ("vault_django_secret_key", "vault_postgresql_password"):
        for hosts in inventory.by(partial(usable, name=name), inventory.of_apps()).values():
            apps = sorted({str(host.get("app_name")) for host in hosts})
            if len(apps) > 1:
                says = f"The applications {' and '.join(apps)} have the same {name}."
                yield inventory.problem(
                    "secret-shared", name, hosts, says, "generate one for each application"
                )


def redis_password(inventory: Inventory) -> Iterator[Problem]:
    """Refuse two passwords for one Redis."""
    name = "vault_redis_password"
    users = [host for host in inventory.hosts.values() if name in needed(host)]
    for node, hosts in inventory.by(lambda host: host.redis, users).items():
        if len({usable(host, name) for host in hosts} - {""}) > 1:
            says = f"The Redis of {node} has one password, and those who use it have different ones."
            yield inventory.problem("redis-password", name, hosts, says, "give all of them the same")


RULES_OF_CREDENTIALS = (present, repeated, shared, redis_password)
