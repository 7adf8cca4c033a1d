"""What the unit tests know of the repository: it is read, never listed by hand."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent
ROLES = sorted(path.name for path in (PROJECT / "roles").iterdir() if path.is_dir())


def load(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping; {} for one that is not there or has only comments."""
    return (yaml.safe_load(path.read_text()) if path.exists() else None) or {}


def source_module(path: str) -> Any:
    """Return a Python file of the repository that is in no package as a new module."""
    source = PROJECT / path
    spec = importlib.util.spec_from_file_location(source.stem, source)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up there.
    sys.modules[source.stem] = found
    spec.loader.exec_module(found)
    return found


def defaults(role: str) -> dict[str, Any]:
    """Return a role's defaults, expressions unevaluated."""
    return load(PROJECT / "roles" / role / "defaults/main.yml")


def specs(role: str) -> dict[str, Any]:
    """Return a role's argument specs by entry point."""
    entry_points: dict[str, Any] = load(PROJECT / "roles" / role / "meta/argument_specs.yml").get(
        "argument_specs", {}
    )
    return entry_points


def options(role: str) -> dict[str, Any]:
    """Return the options of all entry points of a role."""
    return {
        name: option for entry in specs(role).values() for name, option in entry.get("options", {}).items()
    }


def tracked_files() -> list[Path]:
    """Return the paths, relative to PROJECT, of all files that are or would be in the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted({Path(name) for name in listing.split("\0") if name and (PROJECT / name).is_file()})
