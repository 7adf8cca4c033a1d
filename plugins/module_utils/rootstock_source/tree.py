"""The files of a project that say something about it, as text."""

from __future__ import annotations

import ast
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

# Environments, tests and generated code of the project are not what it runs.
SKIPPED = re.compile(
    r"\..*|tests?|test_.*\.py|conftest\.py|docs|examples?|site-packages|node_modules|migrations|__pycache__"
)
READ = re.compile(
    r".*\.py|pyproject\.toml|uv\.lock|poetry\.lock|setup\.cfg|runtime\.txt|.*requirements.*\.txt|Procfile.*"
    r"|.*compose.*\.ya?ml|.*Dockerfile.*|.*\.sh|(start|entrypoint|run)[\w-]*|METADATA"
)
REQUIREMENTS = re.compile(r"(requirements|reqs)/[\w.-]+\.txt")
# Hidden, and wanted all the same.
PYTHON_VERSION = ".python-version"
LARGEST = 2_000_000


@dataclass
class Tree:
    """Texts by their paths, relative to the project. What cannot be parsed comes to be in `unread`."""

    texts: dict[str, str]
    unread: list[str] = field(default_factory=list)
    _parsed: dict[str, ast.Module | None] = field(default_factory=dict)

    def parse(self, path: str) -> ast.Module | None:
        """Return a Python file's syntax tree; None for a file that cannot be parsed."""
        if path not in self._parsed:
            try:
                self._parsed[path] = ast.parse(self.texts[path])
            except (SyntaxError, ValueError, RecursionError):
                self._parsed[path] = None
                self.unread.append(path)
        return self._parsed[path]

    def python(self, *words: str) -> Iterator[str]:
        """Yield the Python files, of all or of those in which one of the words stands."""
        for path, text in self.texts.items():
            if path.endswith(".py") and (not words or any(word in text for word in words)):
                yield path

    def below(self, directory: str) -> Tree:
        """Return the part that is in a directory."""
        start = f"{directory}/" if directory else ""
        return Tree({path.removeprefix(start): t for path, t in self.texts.items() if path.startswith(start)})

    def file_of(self, module: str, base: str = "") -> str:
        """Return the file of a module that is found from `base`; empty if there is none."""
        stem = "/".join(filter(None, [base, *module.split(".")]))
        return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if path in self.texts), "")


def module_of(path: str, base: str = "") -> str:
    """Return the dotted name of a file, as seen from `base`."""
    relative = path.removeprefix(f"{base}/") if base else path
    return ".".join(PurePosixPath(relative.removesuffix("/__init__.py").removesuffix(".py")).parts)


def is_read(path: PurePosixPath) -> bool:
    """Whether a file says something."""
    if path.name == PYTHON_VERSION:
        return True
    if any(SKIPPED.fullmatch(part) for part in path.parts):
        return False
    return bool(READ.fullmatch(path.name) or REQUIREMENTS.search(str(path)))


def tree_of(files: Iterable[tuple[PurePosixPath, bytes]]) -> Tree:
    """Return the tree of these files, in a fixed order."""
    found = {str(path): data.decode(errors="replace") for path, data in files}
    return Tree({path: found[path].removeprefix("\ufeff") for path in sorted(found)})


def files_in(directory: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the files of a directory that say something. Raises OSError for one that cannot be read."""
    os.scandir(directory).close()
    for place, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if not SKIPPED.fullmatch(name)]
        for name in names:
            path = Path(place, name)
            relative = PurePosixPath(path.relative_to(directory).as_posix())
            if is_read(relative) and path.is_file() and path.stat().st_size <= LARGEST:
                yield relative, path.read_bytes()


def files_in_wheel(wheel: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the files of a wheel that say something. Raises zipfile.BadZipFile."""
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            path = PurePosixPath(item.filename)
            if not item.is_dir() and is_read(path) and item.file_size <= LARGEST:
                yield path, archive.read(item)


# What files and modules for a purpose are named; the first is wanted most.
NAMES = (
    re.compile(r".*(prod|production|live|deploy|deployment|heroku|server)"),
    re.compile(r"|[-_.]?(settings|main|app|docker)"),
    re.compile(r".*(base|common|defaults?|core|all)"),
)
UNWANTED = re.compile(
    r".*(local|dev|develop|development|test|tests|testing|ci|debug|staging|example|docs?|lint)"
)


def rank_of_name(name: str) -> int:
    """Return how likely a file or a module of this name is for production: 0 is most, 4 is not at all."""
    if UNWANTED.fullmatch(name):
        return 4
    return next((index for index, pattern in enumerate(NAMES) if pattern.fullmatch(name)), 3)
