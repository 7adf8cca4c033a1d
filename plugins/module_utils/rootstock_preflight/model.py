"""An inventory with its values worked out: what the rules look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .catalogue import GROUPS, OPTIONAL_GROUPS, Catalogue
from .problems import Problem

APP_GROUPS = ("web", "workers", "beat", "flower")
# Where Nginx is.
SITE_GROUPS = ("web", "flower", "edge")
MARKER = "CHANGE_ME"
LONGEST_VALUE = 120


@dataclass(frozen=True)
class Host:
    """A host of the inventory: one application on one server, or a data store."""

    name: str
    # The server; hosts with the same address are the same one.
    address: str
    groups: frozenset[str] = frozenset()
    # Value by name: what is set and could be worked out, and the defaults of what is not set.
    values: dict[str, Any] = field(default_factory=dict)
    # The names that the inventory itself sets, and where: a file of the inventory, its line.
    where: dict[str, str] = field(default_factory=dict)
    # Jinja's message for each value that could not be worked out.
    failed: dict[str, str] = field(default_factory=dict)
    # Names with a value that has the marker in it.
    marked: frozenset[str] = frozenset()
    # The host that serves Redis and PostgreSQL to this one; empty where none does.
    redis: str = ""
    postgresql: str = ""

    def get(self, name: str) -> Any:
        """Return a value; "" for none."""
        value = self.values.get(name)
        return "" if value is None else value

    def is_in(self, *groups: str) -> bool:
        """Whether the host is in any of these groups."""
        return bool(self.groups & set(groups))

    def uses_redis(self) -> bool:
        """Whether something of the host's application is in the stack's own Redis."""
        return any(not self.get(f"app_{use}_url") for use in ("broker", "result", "cache"))

    def broker(self) -> str:
        """Return what tells the host's broker from others."""
        return str(self.get("app_broker_url") or self.redis)


@dataclass(frozen=True)
class Inventory:
    """All hosts, by name, and the groups, of which some may be missing."""

    hosts: dict[str, Host]
    groups: dict[str, list[str]]
    catalogue: Catalogue
    # Name of the inventory's directory, as `make` takes it.
    name: str = ""

    def members(self, *groups: str) -> list[Host]:
        """Return the hosts that are in any of these groups."""
        return [host for host in self.hosts.values() if host.is_in(*groups)]

    def of_apps(self) -> list[Host]:
        """Return the hosts that have an application."""
        return self.members(*APP_GROUPS)

    def by(self, key: Callable[[Host], str], hosts: Iterable[Host]) -> dict[str, list[Host]]:
        """Return hosts by something that they have in common; those that have nothing there are left out."""
        found: dict[str, list[Host]] = {}
        for host in hosts:
            if key(host):
                found.setdefault(key(host), []).append(host)
        return found

    def redis_set(self) -> list[Host]:
        """Return the hosts whose Redis are one set, with Sentinels; [] where each is by itself."""
        found = self.members("redis")
        return found if any(host.get("redis_sentinel_enabled") is True for host in found) else []

    def apps(self) -> dict[str, list[Host]]:
        """Return the hosts of each application."""
        return self.by(lambda host: str(host.get("app_name")), self.of_apps())

    def servers(self) -> dict[str, list[Host]]:
        """Return the hosts of each server."""
        return self.by(lambda host: host.address, self.members(*GROUPS, *OPTIONAL_GROUPS))

    def shown(self, variable: str, value: Any) -> str:
        """Return a value as a message may show it."""
        if self.catalogue.is_secret(variable):
            return "(not shown)"
        text = (
            value if isinstance(value, str) and value else json.dumps(value, default=str, ensure_ascii=False)
        )
        return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"

    def problem(
        self,
        rule: str,
        variable: str,
        hosts: Iterable[Host],
        says: str,
        fix: str,
        value: Any = None,
        covers: tuple[str, ...] = (),
    ) -> Problem:
        """Return a problem with a variable of hosts; theirs are shown if no value is given."""
        concerned = tuple(hosts)
        places = list(dict.fromkeys(host.where[variable] for host in concerned if variable in host.where))
        values = [value] if value is not None else [host.values.get(variable) for host in concerned]
        shown = dict.fromkeys(self.shown(variable, one) for one in values if one is not None)
        return Problem(
            rule=rule,
            variable=variable,
            hosts=tuple(host.name for host in concerned),
            says=says,
            fix=fix,
            value=" or ".join(list(shown)[:2]),
            where=", ".join(places[:2]) + (f" and {len(places) - 2} more" if len(places) > 2 else ""),
            covers=covers,
        )
