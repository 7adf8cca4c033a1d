"""All problems of an inventory: every rule once, and no consequence of a mistake beside the mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from .application import RULES_OF_APPLICATIONS
from .celery_settings import RULES_OF_CELERY
from .credentials import RULES_OF_CREDENTIALS
from .edges import RULES_OF_EDGES
from .model import Inventory
from .names import failed, marked, typed, unknown
from .places import RULES_OF_PLACES
from .problems import Problem
from .releases import RULES_OF_RELEASES
from .stores import RULES_OF_STORES

Rule = Callable[[Inventory], Iterable[Problem]]

# About each variable by itself, the surest first.
RULES_OF_VARIABLES: tuple[Rule, ...] = (unknown, marked, failed, typed)
RULES_BETWEEN_VARIABLES: tuple[Rule, ...] = (
    *RULES_OF_APPLICATIONS,
    *RULES_OF_RELEASES,
    *RULES_OF_CELERY,
    *RULES_OF_CREDENTIALS,
    *RULES_OF_STORES,
    *RULES_OF_PLACES,
    *RULES_OF_EDGES,
)


class Judgement:
    """Problems, each with what it makes it useless to look at."""

    def __init__(self, inventory: Inventory) -> None:
        """Start with no problem of the inventory."""
        self.inventory = inventory
        self.problems: list[Problem] = []
        self.settled: set[tuple[str, str]] = set()

    def is_settled(self, host: str, problem: Problem) -> bool:
        """Whether the value of a host is refused already, or one that it is made of."""
        return any((host, name) in self.settled for name in (problem.variable, *problem.made_of))

    def add(self, found: Iterable[Problem]) -> None:
        """Add the problems of one stage, but for hosts whose value an earlier stage has refused."""
        fresh = []
        for problem in found:
            hosts = tuple(host for host in problem.hosts if not self.is_settled(host, problem))
            if hosts or not problem.hosts:
                fresh.append(replace(problem, hosts=hosts))
        self.problems += fresh
        self.settled |= {
            (host, name)
            for problem in fresh
            for host in problem.hosts
            for name in (problem.variable, *problem.covers)
        }

    def without_refused(self) -> Inventory:
        """Return the inventory with defaults in the place of refused values, which no rule has to expect."""
        defaults = self.inventory.catalogue.defaults()
        hosts = {}
        for host in self.inventory.hosts.values():
            refused = {name for name in host.values if (host.name, name) in self.settled}
            kept = {name: value for name, value in host.values.items() if name not in refused}
            usable = kept | {name: defaults[name] for name in refused if name in defaults}
            hosts[host.name] = replace(host, values=usable)
        return replace(self.inventory, hosts=hosts)


def problems_of(inventory: Inventory, rules_of_roles: Rule = lambda _: ()) -> list[Problem]:
    """Return all problems. Those that the roles find come last: templating them takes Ansible."""
    judgement = Judgement(inventory)
    for rule in RULES_OF_VARIABLES:
        judgement.add(rule(inventory))
    usable = judgement.without_refused()
    judgement.add([problem for rule in RULES_BETWEEN_VARIABLES for problem in rule(usable)])
    # What two roles refuse is one mistake, such as the prefix that Flower and Nginx share.
    for _, found in groupby(rules_of_roles(inventory), key=attrgetter("rule")):
        judgement.add(list(found))
    # A role's expression fails when what it reads is not there, which is said already if anything is.
    real = [
        problem for problem in judgement.problems if not (problem.rule == "template" and not problem.variable)
    ]
    return real or judgement.problems
