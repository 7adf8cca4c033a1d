"""Writes docs/variables.md, all variables that an inventory may set, from variables.yml and the roles' specs.

Usage: reference.py [--check]     (--check writes nothing and fails when the page is not current)
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from role_readme import ROLES, load, prose, rows

ROOT = ROLES.parent
# Not a package that is installed: the modules and plugins of the playbooks find it there, too.
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from rootstock_preflight import catalogue  # noqa: E402 - the path comes first, 2026-11-24

PAGE = ROOT / "docs/variables.md"
FIX = "run .venv/bin/python scripts/reference.py"
HEAD = "| Variable | Type | Default | Description |\n|---|---|---|---|"
INTRODUCTION = f"""# Variables

Everything that an inventory may set, in `group_vars` or `host_vars`. Preflight refuses any other name. Only
what is **required** must be set; a default of "none" means that the variable may be left out.
[Inventories](inventories.md) says where a value belongs.

This page is generated: {FIX}"""
SECTIONS = {
    "app": ("The application", "What the inventory says about the application itself."),
    "vault": ("Secrets", "`make secrets` generates them into the vault file. The roles get them from there."),
    "preflight": ("Preflight", "What preflight may let pass."),
}


def table(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return the Markdown table of some options."""
    return "\n".join([HEAD, *rows(options, defaults)])


def role_options(role: Path) -> dict[str, Any]:
    """Return the options of all entry points of a role, each once; those of main come first."""
    specs = load(role / "meta/argument_specs.yml")["argument_specs"]
    entries = sorted(specs, key=lambda name: (name != "main", name))
    return {name: option for entry in entries for name, option in specs[entry].get("options", {}).items()}


def page() -> str:
    """Return the page. Raises OSError, yaml.YAMLError, KeyError for files that are not as they should be."""
    known = catalogue.read(ROOT)
    described = load(ROOT / "playbooks/variables.yml")["options"]
    parts = [INTRODUCTION]
    for prefix, (title, text) in SECTIONS.items():
        options = {name: option for name, option in described.items() if name.startswith(f"{prefix}_")}
        parts += [f"## {title}", text, table(options, {})]
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        role = path.parents[1]
        everything = role_options(role)
        settable = {name: option for name, option in everything.items() if name in known.options}
        description = prose(load(path)["argument_specs"]["main"]["short_description"])
        parts += [f"## Role {role.name}", f"{description}: [README](../roles/{role.name}/README.md)."]
        parts.append(table(settable, load(role / "defaults/main.yml")) if settable else "No variables.")
        if names := [f"`{name}`" for name in everything if name not in known.options]:
            parts.append(f"Set by the playbooks, not by an inventory: {', '.join(names)}.")
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description="The page of all variables of an inventory.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail when the page is not current"
    )
    check = parser.parse_args().check
    text = page()
    if PAGE.exists() and text == PAGE.read_text():
        return 0
    if check:
        print(f"reference: docs/variables.md is not current; {FIX}", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    print("reference: wrote docs/variables.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
