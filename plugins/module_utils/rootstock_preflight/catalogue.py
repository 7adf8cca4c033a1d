"""Which variables there are: read from the roles' argument specs, variables.yml and the wiring."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# A hundred files are read in every run: LibYAML, where PyYAML has it, takes a fifth of the time.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Option = Mapping[str, Any]
GROUPS = ("redis", "postgresql", "web", "workers", "beat", "flower")
# Those that an inventory may leave out.
OPTIONAL_GROUPS = ("edge",)


@dataclass(frozen=True)
class Catalogue:
    """The variables of the toolkit in one repository."""

    # What an inventory may set, by name, each as in an argument spec.
    options: dict[str, Option]
    # What the wiring sets, with the settable names that it is made of.
    wired: dict[str, tuple[str, ...]]
    # What a play or a role's task sets, with its file.
    played: dict[str, str]
    prefixes: tuple[str, ...]

    def is_secret(self, name: str) -> bool:
        """Whether a variable's value is never shown."""
        return name.startswith("vault_") or bool(self.options.get(name, {}).get("no_log"))

    def defaults(self) -> dict[str, Any]:
        """Return the defaults that are values; expressions are in no spec."""
        return {name: option["default"] for name, option in self.options.items() if "default" in option}


def load(path: Path) -> Any:
    """Return a YAML file's content. Raises OSError, yaml.YAMLError."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 - both are safe, 2026-11-27


def variables_of_plays(content: Any) -> Iterator[str]:
    """Yield the names in all `vars` of a playbook, its tasks included."""
    if isinstance(content, dict):
        yield from content.get("vars") or {}
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            yield from variables_of_plays(item)


def read(root: Path) -> Catalogue:
    """Read the catalogue of the repository or collection at `root`. Raises OSError, yaml.YAMLError."""
    options: dict[str, Option] = load(root / "playbooks/variables.yml")["options"]
    roles = sorted(path.parents[1] for path in (root / "roles").glob("*/meta/argument_specs.yml"))
    for role in roles:
        for entry_point in load(role / "meta/argument_specs.yml")["argument_specs"].values():
            options |= entry_point.get("options", {})

    expressions: dict[str, str] = {}
    for path in sorted((root / "playbooks/group_vars/all").glob("*.yml")):
        expressions |= {name: str(value) for name, value in load(path).items()}

    played = {
        name: str(path.relative_to(root))
        for path in sorted([*root.glob("playbooks/*.yml"), *root.glob("roles/*/tasks/*.yml")])
        for name in variables_of_plays(load(path))
        if name in options
    }

    def sources(name: str, seen: frozenset[str]) -> set[str]:
        """Return what an inventory may set below a wired name, also through other wired names."""
        found: set[str] = set()
        for word in set(re.findall(r"[a-z]\w+", expressions[name])) - seen:
            if word in expressions:
                found |= sources(word, seen | {word})
            elif word in options:
                found.add(word)
        return found

    return Catalogue(
        options={name: option for name, option in options.items() if name not in {*expressions, *played}},
        wired={name: tuple(sorted(sources(name, frozenset({name})))) for name in expressions},
        played=played,
        prefixes=tuple(
            f"{name}_" for name in ("app", "vault", "stack", "preflight", *(role.name for role in roles))
        ),
    )
