"""Rules about each variable by itself: its name, whether its value can be worked out, and its type."""

from __future__ import annotations

from collections.abc import Iterator

from .model import MARKER, Inventory
from .problems import Problem
from .values import faults, nearest

# A user's own secret has a name of its own; only one that is nearly a known one is a slip.
NEARLY = 0.85
# Variables of the past, with what takes their place.
REMOVED = {
    "django_app_static_dir": "leave it out: static files are collected where the settings say (STATIC_ROOT)",
}


def unknown(inventory: Inventory) -> Iterator[Problem]:
    """Refuse names that nothing reads, and those that are not the inventory's to set."""
    catalogue = inventory.catalogue
    for host in inventory.hosts.values():
        for name in sorted(host.where):
            if name in catalogue.options or not name.startswith(catalogue.prefixes):
                continue
            if name in catalogue.played:
                says = f"{catalogue.played[name]} sets {name}: here it has no effect."
                yield inventory.problem("wired-variable", name, [host], says, "leave it out")
            elif name in catalogue.wired:
                # Those that describe the application say it best; ports and the like only fill in the rest.
                feeds = [feed for feed in catalogue.wired[name] if feed.startswith(("app_", "vault_"))]
                feeds = feeds or list(catalogue.wired[name])
                says = (
                    f"Rootstock works out {name} itself, from "
                    + (" and ".join(feeds) or "the inventory's groups")
                    + "."
                )
                fix = f"set {' or '.join(feeds)} instead" if feeds else "leave it out, and change the groups"
                yield inventory.problem("wired-variable", name, [host], says, fix)
            else:
                is_secret = name.startswith("vault_")
                known = [*catalogue.options, *catalogue.wired]
                near = nearest(name, known, NEARLY) if is_secret else nearest(name, known)
                if is_secret and not near:
                    continue
                fix = f"did you mean {near}?" if near else "docs/variables.md lists all names"
                fix = REMOVED.get(name, fix)
                covers = (near,) if near not in host.where else ()
                yield inventory.problem(
                    "unknown-variable", name, [host], f"Nothing reads {name}.", fix, covers=covers
                )


def marked(inventory: Inventory) -> Iterator[Problem]:
    """Refuse values that a generated inventory leaves to the user."""
    for host in inventory.hosts.values():
        for name in sorted(host.marked):
            says = f"{name} still has the marker {MARKER}."
            yield inventory.problem("change-me", name, [host], says, "write your own value in its place")


def failed(inventory: Inventory) -> Iterator[Problem]:
    """Refuse values that cannot be worked out."""
    for host in inventory.hosts.values():
        for name, message in host.failed.items():
            says = f"The value of {name} cannot be worked out: {message}"
            yield inventory.problem(
                "template", name, [host], says, "correct the expression, or set what it names"
            )


def typed(inventory: Inventory) -> Iterator[Problem]:
    """Refuse values of another type than their description's."""
    for host in inventory.hosts.values():
        for name, option in inventory.catalogue.options.items():
            value = host.values.get(name)
            # What is required and empty is missing, which another rule says better.
            if (
                name not in host.where
                or name not in host.values
                or (value is None and option.get("required"))
            ):
                continue
            for fault in faults(value, option, name):
                yield inventory.problem("type", name, [host], fault.says, fault.fix, fault.value)
