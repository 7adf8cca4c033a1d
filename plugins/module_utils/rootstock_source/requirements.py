"""What a project says of its requirements and of Python."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from .tree import PYTHON_VERSION, Tree, rank_of_name

# The first that is there is taken without being named: see the module release_archive.
DEFAULT_FILES = ("uv.lock", "requirements.txt", "pyproject.toml")
# What Debian 12 and 13 have.
OF_DEBIAN = ("3.11.2", "3.13.5")
CHOICES = ("3.13", "3.12", "3.14", "3.11")
POSTGRESQL = {"psycopg", "psycopg2", "psycopg2-binary", "psycopg-binary", "psycopg-c", "pg8000"}
# A driver of their own brings it.
BRINGS_CELERY = {"django-celery-beat", "django-celery-results", "celery", "flower"}
OLD_DJANGO = Version("4.2")


@dataclass
class Requirements:
    """What would be installed."""

    # The file; empty if none can be used. `named` says that it must be named.
    file: str = ""
    named: bool = False
    packages: dict[str, Requirement] = field(default_factory=dict)
    # Python, as a project demands it.
    python: str = ""
    problem: str = ""
    system: list[str] = field(default_factory=list)

    def has(self, *names: str) -> bool:
        """Whether one of these packages is there."""
        return any(name in self.packages for name in names)


def parsed(line: str) -> Requirement | None:
    """Return a requirement; None for a line that is none."""
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def add(found: Requirements, line: str) -> None:
    """Note a requirement."""
    if requirement := parsed(line):
        found.packages.setdefault(canonicalize_name(requirement.name), requirement)


def lines_of(tree: Tree, path: str, seen: set[str]) -> Iterator[str]:
    """Yield the requirements of a file and of those that it includes."""
    if path in seen or path not in tree.texts:
        return
    seen.add(path)
    for raw in re.sub(r"\\\s*\n", " ", tree.texts[path]).splitlines():
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        included = re.match(r"(?:-r|--requirement)[ =]?\s*(\S+)", line)
        if included:
            yield from lines_of(tree, beside(path, included[1]), seen)
        elif line and not line.startswith("-"):
            yield re.sub(r"\s--\w.*", "", line)


def beside(path: str, name: str) -> str:
    """Return the path of a file that another one names."""
    parts: list[str] = []
    for part in (*PurePosixPath(path).parent.parts, *PurePosixPath(name).parts):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def of_lock(found: Requirements, lock: dict[str, Any]) -> None:
    """Note what uv.lock installs of the project itself, without its groups."""
    packages = {package["name"]: package for package in lock.get("package", []) if "name" in package}
    own = [
        package
        for package in packages.values()
        if {"virtual", "editable", "directory"} & set(package.get("source", {}))
        and package["source"].get("virtual", package["source"].get("editable")) == "."
    ]
    waiting: list[tuple[dict[str, Any], str]] = [(package, "") for package in own]
    seen: set[tuple[str, str]] = set()
    while waiting:
        package, extra = waiting.pop()
        if (package["name"], extra) in seen:
            continue
        seen.add((package["name"], extra))
        if package not in own:
            version = package.get("version", "")
            add(found, f"{package['name']}=={version}" if version else package["name"])
        wanted = (
            package.get("optional-dependencies", {}).get(extra, [])
            if extra
            else package.get("dependencies", [])
        )
        for one in wanted:
            if one.get("name") in packages:
                waiting += [(packages[one["name"]], name) for name in ["", *one.get("extra", [])]]


def toml(tree: Tree, path: str) -> dict[str, Any]:
    """Return a TOML file; empty if it is not there or is none."""
    try:
        return tomllib.loads(tree.texts.get(path, ""))
    except tomllib.TOMLDecodeError:
        tree.unread.append(path)
        return {}


def of_poetry(spec: Any) -> str:
    """Return a version specifier of what Poetry writes as one: ^3.12 is >=3.12,<4."""
    if not isinstance(spec, str):
        return ""
    found = []
    for part in spec.split(","):
        word = part.strip()
        caret = re.fullmatch(r"[\^~]\s*(\d+)(?:\.(\d+))?(\.\d+)?", word)
        if caret:
            above = f"<{int(caret[1]) + 1}" if word[0] == "^" else f"<{caret[1]}.{int(caret[2] or 0) + 1}"
            found += [f">={word[1:].strip()}", above]
        else:
            found.append(word if re.match("[<>=!~]", word) else f"=={word}")
    return ",".join(found)


def read(tree: Tree) -> Requirements:
    """Return what a project installs: of the file that Rootstock takes, or of the one that must be named."""
    found = Requirements()
    project = toml(tree, "pyproject.toml")
    described = project.get("project", {}) if isinstance(project.get("project"), dict) else {}
    poetry = project.get("tool", {}).get("poetry", {}) if isinstance(project.get("tool"), dict) else {}
    lock = toml(tree, "uv.lock")
    found.python = described.get("requires-python") or lock.get("requires-python") or ""
    found.python = found.python or of_poetry(poetry.get("dependencies", {}).get("python"))
    if not found.python and "setup.cfg" in tree.texts:
        asked = re.search(r"^\s*python_requires\s*=\s*(\S.*)$", tree.texts["setup.cfg"], re.MULTILINE)
        found.python = asked[1].strip() if asked else ""
    if not found.python:
        pinned = re.match(
            r"(?:python-)?(\d\.\d+)", tree.texts.get(PYTHON_VERSION, tree.texts.get("runtime.txt", ""))
        )
        found.python = f"=={pinned[1]}.*" if pinned else ""
    choose(found, tree, described, lock)
    if found.file:
        found.packages = installed(tree, found.file, described, lock)
        texts = [*lines_of(tree, found.file, set())] if found.file.endswith(".txt") else []
        found.system += ["git"] if any(re.search(r"(^|@\s*)git\+", line) for line in texts) else []
    elif poetry:
        for name in poetry.get("dependencies", {}):
            add(found, name)
        found.problem = (
            "the requirements are Poetry's, and there is no table [project] and no requirements.txt. "
            "Export them: poetry export -o requirements.txt"
        )
    elif "dependency-groups" in project:
        found.problem = (
            "the requirements are groups in pyproject.toml, and there is no table [project]. "
            "Export the group: uv export --only-group NAME -o requirements.txt"
        )
    if "psycopg2" in found.packages:
        found.system += ["gcc", "libpq-dev", "python3-dev"]
    elif (
        "psycopg" in found.packages
        and not found.packages["psycopg"].extras
        and not found.has("psycopg-binary")
    ):
        found.system.append("libpq5")
    return found


def installed(
    tree: Tree, file: str, described: dict[str, Any], lock: dict[str, Any]
) -> dict[str, Requirement]:
    """Return what a file installs."""
    found = Requirements()
    if file == "uv.lock":
        of_lock(found, lock)
    for line in (
        described.get("dependencies", []) if file == "pyproject.toml" else lines_of(tree, file, set())
    ):
        add(found, str(line))
    return found.packages


def choose(found: Requirements, tree: Tree, described: dict[str, Any], lock: dict[str, Any]) -> None:
    """Choose the file: the default ones, then the one that is most likely for production."""
    choose_by_name(found, tree, described)
    if not found.file or "celery" in installed(tree, found.file, described, lock):
        return
    # A lock that knows no Celery is not what is installed for production.
    other = Requirements()
    choose_by_name(other, Tree({path: text for path, text in tree.texts.items() if "/" in path}), {})
    if other.file and "celery" in installed(tree, other.file, described, lock):
        found.file, found.named = other.file, True


def choose_by_name(found: Requirements, tree: Tree, described: dict[str, Any]) -> None:
    """Choose the file by what files are named."""
    for name in DEFAULT_FILES:
        usable = name != "pyproject.toml" or ("dependencies" in described)
        if name in tree.texts and usable and not (name == "uv.lock" and "pyproject.toml" not in tree.texts):
            found.file = name
            return
    named = [
        path
        for path in tree.texts
        if path.endswith(".txt")
        and "requirements" in path
        and path.count("/") <= 1
        and "constraint" not in path
    ]
    named.sort(key=lambda path: (rank_of_name(PurePosixPath(path).stem.removeprefix("requirements")), path))
    if named:
        found.file, found.named = named[0], True
    elif "project" in toml(tree, "pyproject.toml"):
        found.file = "pyproject.toml"


def of_metadata(tree: Tree, extras: list[str]) -> Requirements:
    """Return what a wheel says of itself, with these extras."""
    found = Requirements()
    path = next((path for path in tree.texts if path.endswith(".dist-info/METADATA")), "")
    for line in tree.texts.get(path, "").splitlines():
        if not line:
            break
        field_name, _, value = line.partition(": ")
        if field_name == "Requires-Python":
            found.python = value
        elif field_name == "Requires-Dist" and is_wanted(value, extras):
            add(found, value)
    return found


def is_wanted(line: str, extras: list[str]) -> bool:
    """Whether a requirement is one without an extra, or one of these extras."""
    requirement = parsed(line)
    if requirement is None or requirement.marker is None or "extra" not in str(requirement.marker):
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def python_for(spec: str) -> tuple[str, str]:
    """Return the version to ask for, empty if Debian's are good enough, and why there is none."""
    try:
        specifier = SpecifierSet(spec)
    except InvalidSpecifier:
        return "", f"requires-python is {spec}, which is no version specifier"
    if all(specifier.contains(version) for version in OF_DEBIAN):
        return "", ""
    for choice in CHOICES:
        if any(specifier.contains(f"{choice}.{patch}") for patch in (5, 0, 99)):
            return choice, ""
    return "", f"requires-python is {spec}, which no Python from {CHOICES[-1]} to 3.14 is"


def missing(found: Requirements, asgi: bool) -> list[str]:
    """Return the requirements that Rootstock needs and the project does not name, as lines to install."""
    lines = [] if found.has("gunicorn") else ["gunicorn==27.0.1"]
    if asgi and not found.has("uvicorn"):
        lines.append("uvicorn==0.54.0")
    if asgi and not found.has("uvicorn-worker"):
        lines.append("uvicorn-worker==0.4.0")
    celery = found.packages.get("celery")
    redis = found.has("redis", "hiredis", "django-redis") or (celery is not None and "redis" in celery.extras)
    if not redis:
        # Without a version: the one that the project has stays.
        lines.append("celery[redis]" if found.has(*BRINGS_CELERY) else "celery[redis]==5.6.3")
    elif not found.has(*BRINGS_CELERY):
        lines.append("celery==5.6.3")
    if not found.has("flower"):
        lines.append("flower==2.2.0")
    if not found.has(*POSTGRESQL):
        lines.append("psycopg2-binary" if is_old(found.packages.get("django")) else "psycopg[binary]==3.3.9")
    return lines


def is_old(django: Requirement | None) -> bool:
    """Whether a Django is too old for psycopg 3."""
    versions = re.findall(r"(?:==|~=|<=?)\s*([\d.]*\d)", str(django.specifier)) if django else []
    try:
        return any(Version(version) < OLD_DJANGO for version in versions)
    except InvalidVersion:
        return False
