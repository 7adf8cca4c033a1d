"""Problems as text: the same one of many hosts is one, and no secret is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from .credentials import is_example
from .model import Inventory
from .problems import Problem

SHOWN_HOSTS = 3
# A shorter one could be any word; it is refused for its length, and that message does not show it.
SHORTEST_MASKED = 8


def merged(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems with those that differ in hosts and places only as one."""
    found: dict[Problem, list[Problem]] = {}
    for problem in problems:
        found.setdefault(replace(problem, hosts=(), where=""), []).append(problem)
    result = []
    for same, each in found.items():
        places = list(dict.fromkeys(problem.where for problem in each if problem.where))
        more = f" and {len(places) - 2} more" if len(places) > 2 else ""
        hosts = tuple(dict.fromkeys(host for problem in each for host in problem.hosts))
        result.append(replace(same, hosts=hosts, where=", ".join(places[:2]) + more))
    return result


def leaves(value: Any) -> list[str]:
    """Return all texts in a value."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in leaves(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in leaves(item)]
    return [value] if isinstance(value, str) else []


def secrets_of(inventory: Inventory) -> list[str]:
    """Return the secrets of an inventory as texts may have them, the longest first."""
    found = {
        text
        for host in inventory.hosts.values()
        for name, value in host.values.items()
        if inventory.catalogue.is_secret(name)
        for text in leaves(value)
        if len(text) >= SHORTEST_MASKED and not is_example(text)
    }
    return sorted(found | {quote(text, safe="") for text in found}, key=len, reverse=True)


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return a text without secrets, and without the passwords of URLs."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return re.sub(r"(\w://)[^/@\s]+@", r"\1***@", text)


def named(hosts: tuple[str, ...]) -> str:
    """Return host names, at most three."""
    if len(hosts) <= SHOWN_HOSTS:
        return ", ".join(hosts)
    return f"{', '.join(hosts[: SHOWN_HOSTS - 1])} and {len(hosts) - SHOWN_HOSTS + 1} more"


def entry(number: int, problem: Problem) -> str:
    """Return one problem as lines."""
    head = problem.variable or "value"
    head += f" of {named(problem.hosts)}" if problem.hosts else ""
    head += f" ({problem.where})" if problem.where else ""
    lines = [f"{number}. {head}"]
    if problem.value:
        lines.append(f"   value: {problem.value}")
    lines += [f"   rule:  {problem.says} [{problem.rule}]", f"   fix:   {problem.fix}"]
    return "\n".join(lines)


def text_of(problems: list[Problem], place: str, outcome: str, inventory: Inventory) -> str:
    """Return the whole message: how many problems in which place, what was done nevertheless, and each."""
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    entries = [entry(number, problem) for number, problem in enumerate(problems, 1)]
    text = "\n\n".join([f"Preflight found {count} in {place}. {outcome}", *entries])
    return masked(text, secrets_of(inventory))
