"""Writes the tables of variables in the roles' READMEs from their argument specs.

Usage: role_readme.py [--check] [ROLE...]     (--check writes nothing and fails when a table is not current)
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
BEGIN, END = "<!-- variables -->", "<!-- /variables -->"
LONGEST_DEFAULT = 60
FIX = "run .venv/bin/python scripts/role_readme.py"


def load(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping; {} for a file that is not there or has only comments."""
    return (yaml.safe_load(path.read_text()) if path.exists() else None) or {}


def prose(text: str | list[str]) -> str:
    """Turn a description with Ansible's C(code), B(bold), I(italic) markup into one line of Markdown."""
    line = " ".join(text if isinstance(text, list) else [text])
    line = re.sub(r"[CVO]\(([^)]*)\)", r"`\1`", line)
    line = re.sub(r"[IB]\(([^)]*)\)", r"*\1*", line)
    return re.sub(r"\s+", " ", line).strip().replace("|", "\\|")


def kind(option: Mapping[str, Any]) -> str:
    """Return an option's type, for a list with that of its items."""
    name = str(option.get("type", "str"))
    return f"{name} of {option['elements']}" if "elements" in option else name


def shown_default(name: str, option: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return the cell for an option's default."""
    if option.get("required"):
        return "**required**"
    value = option.get("default", defaults.get(name))
    if value is None:
        return "none"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    if len(text) > LONGEST_DEFAULT or "\n" in text:
        return "see `defaults/main.yml`"
    return f"`{text}`".replace("|", "\\|")


def rows(options: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a table row for each option, those of a list's items or a dict below it."""
    for name, option in options.items():
        description = prose(option["description"])
        if "choices" in option:
            choices = (item if isinstance(item, str) else json.dumps(item) for item in option["choices"])
            description += " One of " + ", ".join(f"`{choice}`" for choice in choices) + "."
        default = shown_default(name, option, {} if prefix else defaults)
        yield f"| `{prefix}{name}` | {kind(option)} | {default} | {description} |"
        inner = f"{prefix}{name}{'[]' if option.get('type') == 'list' else ''}."
        yield from rows(option.get("options", {}), defaults, inner)


def tables(role: Path) -> str:
    """Return the Markdown for all entry points of a role; the plain one, main, comes first."""
    specs = load(role / "meta/argument_specs.yml")["argument_specs"]
    defaults = load(role / "defaults/main.yml")
    parts = []
    for entry in sorted(specs, key=lambda name: (name != "main", name)):
        if entry != "main":
            parts.append(f"### Entry point `{entry}`\n\n{prose(specs[entry].get('description', ''))}")
        options = specs[entry].get("options", {})
        if not options:
            parts.append("No variables.")
            continue
        head = "| Variable | Type | Default | Description |\n|---|---|---|---|"
        parts.append("\n".join([head, *rows(options, defaults)]))
    return "\n\n".join(parts)


def with_tables(role: Path) -> str:
    """Return the role's README with current tables. Raises ValueError when it lacks the markers."""
    text = (role / "README.md").read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"roles/{role.name}/README.md lacks the line {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{tables(role)}\n\n{END}{after}"


def main() -> int:
    """Write or check the READMEs; return the exit status."""
    parser = argparse.ArgumentParser(description="Tables of variables in the roles' READMEs.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail when a table is not current"
    )
    parser.add_argument("role", nargs="*", help="names of roles (default: all)")
    arguments = parser.parse_args()
    names = arguments.role or sorted(
        path.parent.parent.name for path in ROLES.glob("*/meta/argument_specs.yml")
    )
    if not names:
        print("role_readme: there is no role with meta/argument_specs.yml", file=sys.stderr)
        return 1
    failures = 0
    for name in names:
        readme = ROLES / name / "README.md"
        try:
            text = with_tables(ROLES / name)
        except (OSError, ValueError, KeyError) as error:
            print(f"role_readme: {name}: {error!r}", file=sys.stderr)
            failures += 1
            continue
        if text == readme.read_text():
            continue
        if arguments.check:
            print(f"role_readme: roles/{name}/README.md is not current; {FIX}", file=sys.stderr)
            failures += 1
        else:
            readme.write_text(text)
            print(f"role_readme: wrote roles/{name}/README.md")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
