"""Where a project is in its repository, and which of its modules are for production."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .settings import Settings, read
from .tree import Tree, module_of, rank_of_name

SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']?\s*[,\]=:]\s*=?\s*["']?([A-Za-z_][\w.]*\w)""")
REQUIREMENTS = re.compile(r"uv\.lock|pyproject\.toml|[\w.-]*requirements[\w.-]*\.txt")
INSTALLED = "INSTALLED_APPS"


@dataclass
class Layout:
    """A project: its directory in the repository, and the directory in it that modules are found from."""

    tree: Tree
    directory: str = ""
    base: str = ""
    guessed: list[str] = field(default_factory=list)


def has_requirements(tree: Tree, directory: str) -> bool:
    """Whether a directory says what is to be installed."""
    for path in tree.below(directory).texts:
        place = PurePosixPath(path)
        if REQUIREMENTS.fullmatch(place.name) and len(place.parts) == 1:
            return True
        if place.parts[0] in ("requirements", "reqs") and place.suffix == ".txt":
            return True
    return False


def find(tree: Tree) -> Layout:
    """Return where the project is: at the top, or where the one manage.py is."""
    managed = sorted(
        (path for path in tree.texts if PurePosixPath(path).name == "manage.py"),
        key=lambda path: (path.count("/"), path),
    )
    if not managed:
        base = "src" if not tree.below("src").texts.get("manage.py") and is_source(tree) else ""
        return Layout(tree, base=base)
    place = str(PurePosixPath(managed[0]).parent)
    found = Layout(tree)
    if place != ".":
        # Requirements beside manage.py belong to it; else the project is whole only at the top.
        if has_requirements(tree, place) or not has_requirements(tree, ""):
            found = Layout(tree.below(place), place)
        else:
            found.base = place
    if len(managed) > 1 and managed[1].count("/") == managed[0].count("/"):
        found.guessed.append(f"the project is {place}: {', '.join(managed[1:4])} are there as well")
    named = settings_in(tree.texts[managed[0]])
    if named and not found.tree.file_of(named, found.base):
        stem = named.replace(".", "/")
        for path in found.tree.texts:
            for end in (f"/{stem}.py", f"/{stem}/__init__.py"):
                if path.endswith(end):
                    found.base = path.removesuffix(end)
                    return found
    return found


def is_source(tree: Tree) -> bool:
    """Whether all packages of the project are in src."""
    return any(path.startswith("src/") for path in tree.python()) and not any(
        path.count("/") and not path.startswith("src/") for path in tree.python(INSTALLED)
    )


def settings_in(content: str) -> str:
    """Return the settings module that a text names; empty if it names none."""
    found = SETTINGS.search(content)
    return found[1] if found else ""


def has_applications(settings: Settings) -> bool:
    """Whether these are a whole project's settings."""
    return INSTALLED in settings.values


def whole(layout: Layout, path: str) -> bool:
    """Whether a file is a whole project's settings, with what it imports."""
    return has_applications(read(layout.tree, path, layout.base))


def choose_settings(layout: Layout, loaders: list[str]) -> tuple[str, str]:
    """Return the settings module for production, and why it is that one.

    `loaders` are files that name one, those that a server runs first.
    """
    tree, base = layout.tree, layout.base
    named, where = "", ""
    for path in loaders:
        named = settings_in(tree.texts[path])
        if named and tree.file_of(named, base):
            where = path
            break
        named = ""
    if not named:
        every = [path for path in tree.python(INSTALLED) if whole(layout, path)]
        every.sort(key=lambda path: (rank_of_name(PurePosixPath(path).stem), path.count("/"), path))
        if not every:
            return "", ""
        module = module_of(every[0], base)
        layout.guessed.append(f"app_settings_module is {module}: no file of the project names one")
        return module, every[0]
    path = tree.file_of(named, base)
    if rank_of_name(named.split(".")[-1]) < 2 and whole(layout, path):
        return named, where
    package = str(PurePosixPath(path).parent)
    siblings = [
        one
        for one in tree.python()
        if str(PurePosixPath(one).parent) == package and one != path and whole(layout, one)
    ]
    siblings.sort(key=lambda one: (rank_of_name(PurePosixPath(one).stem), one))
    own = rank_of_name(PurePosixPath(path).stem) if whole(layout, path) else 5
    if siblings and rank_of_name(PurePosixPath(siblings[0]).stem) < own:
        module = module_of(siblings[0], base)
        layout.guessed.append(f"app_settings_module is {module}: {where} names {named}")
        return module, siblings[0]
    return named, where


def only(found: list[str], package: str) -> str:
    """Return the one file; of several the first that is in the package; empty if that leaves none."""
    inside = [path for path in found if package and f"/{package}/" in f"/{path}"]
    return found[0] if len(found) == 1 else next(iter(inside), "")
