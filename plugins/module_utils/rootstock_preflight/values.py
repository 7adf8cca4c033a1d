"""Values against the options of an argument spec.

Stricter than Ansible, which takes "a" for a list, and "false" for true in a condition.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .catalogue import Option


@dataclass(frozen=True)
class Fault:
    """What is wrong with a value, or with the part of it at `path`."""

    path: str
    says: str
    fix: str
    value: Any = None


KINDS = {
    "bool": ("true or false", "write true or false without quotes; on the command line give JSON"),
    "int": ("a whole number", "write the number without quotes and without a unit"),
    "str": ("text", "put the value in quotes"),
    "path": ("a path", "put the path in quotes"),
    "list": ("a list", "write it as [a, b], also for one item"),
    "dict": ("a mapping", "write it as lines of name: value"),
}


def is_whole_number(value: Any) -> bool:
    """Whether a value is a whole number, or one in digits, as -e name=1 gives it."""
    if isinstance(value, str):
        return value.removeprefix("-").isdecimal()
    return isinstance(value, int) and not isinstance(value, bool)


def has_type(value: Any, kind: str) -> bool:
    """Whether a value is of a type of the argument specs. Raises KeyError for one that is not known."""
    return {
        "bool": isinstance(value, bool),
        "int": is_whole_number(value),
        "str": isinstance(value, str),
        "path": isinstance(value, str),
        "list": isinstance(value, list | tuple),
        "dict": isinstance(value, Mapping),
        "raw": True,
    }[kind]


def nearest(name: str, known: Any, cutoff: float = 0.6) -> str:
    """Return the known name that is most like another; "" for none."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else ""


def faults(value: Any, option: Option, path: str) -> Iterator[Fault]:
    """Yield everything that is wrong with a value, in all of its parts."""
    kind = option.get("type", "str")
    choices = option.get("choices")
    if not has_type(value, kind):
        is_what, fix = KINDS[kind]
        yield Fault(path, f"{path} must be {is_what}.", fix, value)
    elif kind == "list":
        # Choices and options of a list are those of its items.
        for index, item in enumerate(value):
            yield from faults(item, {**option, "type": option.get("elements", "raw")}, f"{path}[{index}]")
    elif kind == "dict" and option.get("options"):
        yield from faults_of_parts(value, option["options"], path)
    elif choices and value not in choices:
        near = nearest(str(value), map(str, choices))
        fix = f"did you mean {near}?" if near else "choose one of them"
        yield Fault(path, f"{path} must be one of {', '.join(map(str, choices))}.", fix, value)


def faults_of_parts(value: Mapping[str, Any], options: Mapping[str, Option], path: str) -> Iterator[Fault]:
    """Yield what is wrong with the parts of a mapping: unknown, missing or bad ones."""
    missing = {name for name, option in options.items() if option.get("required") and name not in value}
    for name, part in value.items():
        if name in options:
            yield from faults(part, options[name], f"{path}.{name}")
            continue
        near = nearest(str(name), options)
        missing.discard(near)
        fix = f"did you mean {near}?" if near else f"it has {', '.join(sorted(options))}"
        yield Fault(f"{path}.{name}", f"Nothing reads {path}.{name}.", fix, part)
    for name in sorted(missing):
        yield Fault(
            f"{path}.{name}", f"{path}.{name} is not set.", f"add {name}: {options[name].get('type', 'str')}"
        )
