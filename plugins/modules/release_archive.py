#!/usr/bin/python
# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible module: an application as an archive that is named after its content."""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import os
import re
import stat
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: release_archive
short_description: Pack an application into an archive named after its content
description:
  - Packs a directory, or the mere name of a package, into a deterministic C(tar.gz) and names it after a hash
    of what is in it, so that the same input is the same release on every controller and at any time.
  - Meant to run on the controller, as in the example. The archive is a cache, so the module never
    reports a change.
  - Left out are version control directories, Python's caches, virtual environments and files named C(.env),
    which would carry a developer's secrets to the servers.
  - In check mode the release is named, but no archive is written.
options:
  source:
    description: Directory of the project, which has its requirements and, if there is one, C(manage.py).
    type: path
  subdirectory:
    description: Directory below O(source) that is the project.
    type: str
    default: ""
  package:
    description:
      - Requirement of a package that has the whole application, such as C(shop==1.2.3). The release is a
        requirements file that names it.
    type: str
  cache_dir:
    description: Directory of the archives. It is made with mode 0700 when it is missing.
    type: path
    required: true
  requirements_file:
    description:
      - C(uv.lock), C(pyproject.toml) or a requirements file, relative to the project. Empty is the first that
        is there of C(uv.lock), C(requirements.txt), C(pyproject.toml).
      - Either every requirement in it carries a hash or none does.
    type: str
    default: ""
  extra_requirements:
    description: Requirements that the application does not name itself. They become a file of the release.
    type: list
    elements: str
    default: []
  media_dir:
    description: Directory that becomes a link on the server. The project has no files there. Empty is none.
    type: str
    default: ""
  settings_module:
    description: Python module of the application's own settings.
    type: str
    default: ""
  settings_overlay:
    description:
      - Python that follows the application's settings. With it the release has a module C(rootstock_settings)
        with the upper-case names of O(settings_module), in which this text is run.
    type: str
    default: ""
  files:
    description:
      - Files that others put into the release. They are in no archive, but part of its name, and the project
        has none of them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path relative to the release.
        type: str
        required: true
      mode:
        description: Mode in octal digits.
        type: str
        required: true
      digest:
        description: Text that is another one for each content, and does not tell it.
        type: str
        required: true
  recipe:
    description: Text that is part of the name as well, for instance the script that builds the release.
    type: str
    default: ""
author: Rootstock contributors
"""

EXAMPLES = r"""
- name: Pack the application
  release_archive:
    source: /home/me/shop
    cache_dir: ~/.cache/rootstock/releases
  delegate_to: localhost
  connection: local
  become: false
  register: archive
"""

RETURN = r"""
release_id:
  description: 12 hexadecimal digits that name the content.
  type: str
  returned: success
  sample: 0f3a9c51be77
archive:
  description: Path of the archive. Everything in it is below one directory, named like the release.
  type: str
  returned: success
files:
  description: Number of files and symbolic links in the release.
  type: int
  returned: success
requirements:
  description: The file with the requirements and those that it is made of, relative to the release.
  type: list
  elements: str
  returned: success
  sample: [requirements/production.txt, requirements/base.txt]
requires_python:
  description: The project's C(requires-python), from C(uv.lock) or C(pyproject.toml). Empty is any.
  type: str
  returned: success
  sample: ">=3.12"
"""

IGNORED_NAMES = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".venv", ".tox", ".nox", ".mypy_cache", ".pytest_cache"}
    | {".ruff_cache", ".cache", ".env", ".DS_Store"}
)
IGNORED_SUFFIXES = (".pyc", ".pyo")
EXTRA_REQUIREMENTS = ".extra-requirements.txt"
# The module whose name with-env gives to every program of a release that has it.
SETTINGS = "rootstock_settings.py"
SETTINGS_TEXT = """# The application's own settings, then app_settings_overlay of the inventory.
from importlib import import_module as _import_module

_own = _import_module("{module}")
globals().update((_name, getattr(_own, _name)) for _name in dir(_own) if _name.isupper())

{overlay}"""
# The role's own places at the top of a release.
RESERVED_NAMES = (".static", ".complete", ".migrated", ".commands", EXTRA_REQUIREMENTS, SETTINGS)
# They keep a directory in Git, and are not what is in it.
PLACEHOLDERS = (".gitkeep", ".keep", ".gitignore")
REQUIREMENTS_FILES = ("uv.lock", "requirements.txt", "pyproject.toml")
INCLUDE = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s*)(\S+)")
# What installs a directory: -e, a path, "name @ file:…".
DIRECTORY = re.compile(r"-e\b|--editable\b|[./]|file:|[\w.-]+/|[\w.-]+\s*(\[[^]]*\])?\s*@\s*(file:|[./])")
LOCK = "uv pip compile --universal --generate-hashes requirements.in -o requirements.txt"
# Not 0: GNU tar calls the year 1970 implausible, and says so for every file.
MTIME = 946684800
ARCHIVES_KEPT = 20


class ReleaseError(Exception):
    """The source cannot become a release; the message says what is wrong and how to fix it."""


@dataclass(frozen=True)
class Entry:
    """One file (mode, sha256 of its content) or symbolic link (mode 0, its target) of a release.

    A file that is not in the source has its content with it.
    """

    path: str
    mode: int
    value: str
    content: bytes | None = None

    @property
    def is_link(self) -> bool:
        return self.mode == 0


def ignored(name: str) -> bool:
    """Whether a file or directory of this name never belongs to a release."""
    return name in IGNORED_NAMES or name.endswith(IGNORED_SUFFIXES)


def read_entry(source: Path, path: str) -> Entry:
    """Read one file of the source. Raises ReleaseError for what a server could not use, OSError."""
    full = source / path
    mode = full.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = str(full.readlink())
        inside = Path(os.path.normpath(Path(path).parent / target))
        if inside.is_absolute() or inside.parts[:1] == (os.pardir,):
            raise ReleaseError(
                f"'{full}' is a symbolic link to '{target}', outside the project: a server would not"
                " have it. Put the file itself there, or link by a relative path inside the project."
            )
        return Entry(path, 0, target)
    if not stat.S_ISREG(mode):
        raise ReleaseError(
            f"'{full}' is neither a file nor a directory nor a link. Remove it from the project."
        )
    # Only the executable bit counts: the rest of the mode is the umask of whoever made the clone.
    return Entry(path, 0o755 if mode & stat.S_IXUSR else 0o644, hashlib.sha256(full.read_bytes()).hexdigest())


def read_entries(source: Path) -> list[Entry]:
    """All entries of the source, in an order that does not depend on the machine.

    Raises ReleaseError for entries that cannot be deployed, OSError for those that cannot be read.
    """
    entries = []
    for directory, subdirectories, files in os.walk(source):
        subdirectories[:] = [name for name in subdirectories if not ignored(name)]
        # os.walk lists a link to a directory among the directories, and does not follow it.
        links = [name for name in subdirectories if (Path(directory) / name).is_symlink()]
        for name in [name for name in files if not ignored(name)] + links:
            entries.append(read_entry(source, str((Path(directory) / name).relative_to(source))))
    return sorted(entries, key=lambda entry: os.fsencode(entry.path))


def made_entry(path: str, lines: Iterable[str]) -> Entry:
    """A text file of the release that is not in the source."""
    content = "".join(f"{line}\n" for line in lines).encode()
    return Entry(path, 0o644, hashlib.sha256(content).hexdigest(), content)


def identify(entries: list[Entry], ingredients: Iterable[str]) -> str:
    """12 hexadecimal digits over the entries and over texts that change what is built of them."""
    digest = hashlib.sha256()
    for part in ingredients:
        digest.update(hashlib.sha256(part.encode()).digest())
    for entry in entries:
        digest.update(b"%s\0%o\0%s\0" % (os.fsencode(entry.path), entry.mode, os.fsencode(entry.value)))
    return digest.hexdigest()[:12]


def requirement_lines(text: str) -> list[str]:
    """The requirements and options of a requirements file, one a line, without comments."""
    lines = re.sub(r"\\\r?\n", " ", text).splitlines()
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
    return [line for line in bare if line]


def read_requirements(source: Path, name: str) -> tuple[list[str], list[str]]:
    """Read a requirements file with those that it includes: their names, and the requirements in them.

    Constraints are among the names only. Raises ReleaseError for what a release cannot have, OSError.
    """
    names, requirements, constraints = [name], [], set()
    for file in names:
        for line in requirement_lines((source / file).read_text(encoding="utf-8")):
            if include := INCLUDE.match(line):
                included = os.path.normpath(Path(file).parent / include[2])
                if included.startswith((os.pardir, os.sep)) or not (source / included).is_file():
                    raise ReleaseError(f"'{file}' has '{line}', which is no file of the project. Correct it.")
                if file in constraints or include[1] in ("-c", "--constraint"):
                    constraints.add(included)
                if included not in names:
                    names.append(included)
            elif DIRECTORY.match(line):
                raise ReleaseError(
                    f"'{file}' has '{line}', which installs a directory; but releases with the same"
                    " requirements share what is installed. Remove the line: Python finds what is at the top"
                    " of the project. For another directory set PYTHONPATH in app_environment, such as 'src'."
                )
            elif not line.startswith("-") and file not in constraints:
                requirements.append(line)
    return names, requirements


def check_requirements(source: Path, name: str) -> list[str]:
    """The names of the files that say what to install. Raises ReleaseError for what cannot be, OSError."""
    if not (source / name).is_file():
        raise ReleaseError(
            f"'{source}' has no file '{name}'. Make it, or name another one in django_app_requirements_file."
        )
    kind = Path(name).name
    pyproject = Path(name).with_name("pyproject.toml")
    if kind in ("uv.lock", "pyproject.toml"):
        if not (source / pyproject).is_file():
            raise ReleaseError(f"'{source}' has '{name}' without a pyproject.toml beside it. Add that.")
        try:
            described = "project" in tomllib.loads((source / pyproject).read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ReleaseError(f"'{source / pyproject}' is no TOML: {error}") from error
        if not described:
            raise ReleaseError(
                f"'{source / pyproject}' has no table [project], so it does not say what to install. Add a"
                f" requirements.txt, and best lock it: {LOCK}"
            )
        return [name] if kind == "pyproject.toml" else [name, str(pyproject)]
    names, requirements = read_requirements(source, name)
    unhashed = [line for line in requirements if "--hash=" not in line]
    if unhashed and len(unhashed) < len(requirements):
        raise ReleaseError(
            f"{len(unhashed)} requirements of '{source / name}' have no hash, though others have one. The"
            f" first is '{unhashed[0].split(';')[0].strip()}'. Lock the file: {LOCK}"
        )
    return names


def read_requires_python(source: Path, requirements: str) -> str:
    """Return the specifiers of the Pythons that the project is for; "" if it does not say.

    Raises ReleaseError, OSError.
    """
    lock = Path(requirements).name == "uv.lock"
    file = source / (requirements if lock else Path(requirements).with_name("pyproject.toml"))
    if not file.is_file():
        file = source / "pyproject.toml"
    if not file.is_file():
        return ""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ReleaseError(f"'{file}' is no TOML: {error}") from error
    said = (content if lock else content.get("project", {})).get("requires-python", "")
    return str(said)


def find_requirements(source: Path) -> str:
    """The first that is there of the files that may say what to install. Raises ReleaseError without any."""
    for name in REQUIREMENTS_FILES:
        if (source / name).is_file():
            return name
    what = "no requirements" if (source / "manage.py").is_file() else "neither manage.py nor requirements"
    raise ReleaseError(
        f"'{source}' has {what} at its top (one of {', '.join(REQUIREMENTS_FILES)}). Name the directory of"
        " the project, not the one above (for Git in app_source_directory). If the requirements have another"
        f" name, set django_app_requirements_file. If there are none, make them: {LOCK}"
    )


def without_placeholders(entries: list[Entry], directory: str) -> list[Entry]:
    """The entries but for what keeps a directory in Git that becomes a link on the server; empty for none."""
    return [
        entry
        for entry in entries
        if not directory
        or Path(entry.path).name not in PLACEHOLDERS
        or not Path(entry.path).is_relative_to(directory)
    ]


def check_places(entries: list[Entry], media_dir: str) -> None:
    """Raise ReleaseError where the project has what the server puts there itself."""

    def of_the_project(place: str) -> list[str]:
        return [entry.path for entry in entries if Path(entry.path).is_relative_to(place)]

    for name in RESERVED_NAMES:
        if of_the_project(name):
            raise ReleaseError(
                f"The project has '{name}' at its top, where a release keeps its own. Rename or remove it."
            )
    if media_dir and (media := of_the_project(media_dir)):
        raise ReleaseError(
            f"The project has '{media[0]}', but '{media_dir}' (django_app_media_dir) becomes a link to the"
            " uploads on the server. Move these files to another directory, or let settings read MEDIA_ROOT"
            " from the environment and leave django_app_media_dir out."
        )


def faults_of_paths(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with paths of app_files by themselves, and what to type."""
    seen: list[str] = []
    for path in paths:
        parts = Path(path).parts
        if path in seen:
            yield f"app_files has '{path}' twice: a file has one content", "leave one of them out"
        elif not parts or path.startswith("/") or ".." in parts or path != os.path.normpath(path):
            rule = "a path is relative to the release's directory, without '..'"
            yield f"app_files has '{path}': {rule}", "write it as in path: config/shop.ini"
        elif parts[0] in RESERVED_NAMES or ignored(parts[0]):
            rule = "the name is one that a release keeps for itself"
            yield f"app_files has '{path}': {rule}", "give the file another name"
        elif inside := [
            one for one in seen if Path(one) in Path(path).parents or Path(path) in Path(one).parents
        ]:
            rule = f"'{inside[0]}' would be a file and a directory"
            yield f"app_files has '{path}': {rule}", "give one of them another name"
        seen.append(path)


def fault_of_overlay(text: str) -> tuple[str, str] | None:
    """Return what is wrong with app_settings_overlay, and what to type; None if it is Python."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        number = getattr(error, "lineno", None) or 1
        lines = text.splitlines()
        line = lines[number - 1].strip() if number <= len(lines) else ""
        says = f"app_settings_overlay is no Python: {getattr(error, 'msg', error)} in line {number}, '{line}'"
        return says, "correct the line"
    return None


def check_additions(entries: list[Entry], paths: list[str], overlay: str, own_places: list[str]) -> None:
    """Raise ReleaseError for what the inventory cannot add to the release, with all that is wrong."""
    found = list(faults_of_paths(paths))
    for path in paths:
        for entry in entries:
            if path == entry.path or Path(path) in Path(entry.path).parents:
                rule = "the project has a file of that path"
                found.append(
                    (f"app_files has '{path}': {rule}", "remove it there, or give this one another path")
                )
                break
            # A link would lead elsewhere.
            if Path(entry.path) in Path(path).parents:
                rule = f"'{entry.path}' is no directory of the project"
                found.append((f"app_files has '{path}': {rule}", "give the file another path"))
                break
        for place in own_places:
            if Path(path).is_relative_to(place):
                rule = f"'{place}' is made when the release is built"
                found.append((f"app_files has '{path}': {rule}", "give the file another path"))
    if overlay and (fault := fault_of_overlay(overlay)):
        found.append(fault)
    if found:
        raise ReleaseError("\n".join(f"{says}. Fix: {fix}." for says, fix in found))


def write_archive(source: Path, entries: list[Entry], release: str, archive: Path) -> None:
    """Write the entries below a directory named like the release; the same entries give the same bytes.

    Raises ReleaseError when a file has changed since the entries were read, OSError.
    """
    archive.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Several hosts of one run may write the same archive at once: each writes its own, the last wins.
    handle, temporary_name = tempfile.mkstemp(dir=archive.parent, prefix=f".{release}-")
    temporary = Path(temporary_name)
    try:
        with (
            os.fdopen(handle, "wb") as raw,
            gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
            tarfile.open(mode="w", fileobj=packed, format=tarfile.GNU_FORMAT) as tar,
        ):
            directories = {str(parent) for entry in entries for parent in Path(release, entry.path).parents}
            for directory in sorted(directories - {"."}):
                info = member(directory, 0o755)
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            for entry in entries:
                add_entry(tar, source, entry, release)
        temporary.replace(archive)
    except BaseException:
        temporary.unlink()
        raise


def member(name: str, mode: int) -> tarfile.TarInfo:
    """Header of one archive member that root owns and that says nothing of when and by whom it was made."""
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, MTIME
    return info


def add_entry(tar: tarfile.TarFile, source: Path, entry: Entry, release: str) -> None:
    """Add one entry to the archive. Raises ReleaseError when it is not what it was, OSError."""
    info = member(f"{release}/{entry.path}", entry.mode or 0o777)
    if entry.is_link:
        info.type, info.linkname = tarfile.SYMTYPE, entry.value
        tar.addfile(info)
        return
    content = (source / entry.path).read_bytes() if entry.content is None else entry.content
    if hashlib.sha256(content).hexdigest() != entry.value:
        raise ReleaseError(f"'{source / entry.path}' changed while it was packed. Run again.")
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def prune_archives(cache_dir: Path) -> None:
    """Remove all but the newest archives. Another run may do the same at the same time."""
    by_age = sorted(
        ((path.stat().st_mtime, path) for path in cache_dir.glob("*.tar.gz") if path.exists()), reverse=True
    )
    for _, path in by_age[ARCHIVES_KEPT:]:
        path.unlink(missing_ok=True)


def project_directory(source: Path, subdirectory: str) -> Path:
    """The directory of the project. Raises ReleaseError when it is none."""
    if not source.is_dir():
        raise ReleaseError(f"'{source}' is not a directory on the controller. Name the project's directory.")
    if not (source / subdirectory).is_dir():
        raise ReleaseError(
            f"'{subdirectory}' is no directory of the source. Correct it in app_source_directory."
        )
    return source / subdirectory


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path"},
            "subdirectory": {"type": "str", "default": ""},
            "package": {"type": "str"},
            "cache_dir": {"type": "path", "required": True},
            "requirements_file": {"type": "str", "default": ""},
            "extra_requirements": {"type": "list", "elements": "str", "default": []},
            "media_dir": {"type": "str", "default": ""},
            "settings_module": {"type": "str", "default": ""},
            "settings_overlay": {"type": "str", "default": ""},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "mode": {"type": "str", "required": True},
                    "digest": {"type": "str", "required": True},
                },
            },
            "recipe": {"type": "str", "default": ""},
        },
        mutually_exclusive=[("source", "package")],
        required_one_of=[("source", "package")],
        supports_check_mode=True,
    )
    given = module.params
    media_dir = given["media_dir"]
    overlay, files = given["settings_overlay"].strip(), given["files"]
    requires_python = ""
    # A package has no directory, and nothing is read there.
    project, cache_dir = Path(os.devnull), Path(given["cache_dir"])
    try:
        if given["package"] is not None:
            requirements = ["requirements.txt"]
            entries = [made_entry(requirements[0], [given["package"]])]
        else:
            project = project_directory(Path(given["source"]), given["subdirectory"])
            requirements = check_requirements(
                project, given["requirements_file"] or find_requirements(project)
            )
            entries = without_placeholders(read_entries(project), media_dir)
            check_places(entries, media_dir)
            requires_python = read_requires_python(project, requirements[0])
        check_additions(entries, [file["path"] for file in files], overlay, [media_dir] if media_dir else [])
        if overlay:
            text = SETTINGS_TEXT.format(module=given["settings_module"], overlay=overlay)
            entries.append(made_entry(SETTINGS, text.split("\n")))
        if given["extra_requirements"]:
            entries.append(made_entry(EXTRA_REQUIREMENTS, given["extra_requirements"]))
        added = [json.dumps(files, sort_keys=True)] if files else []
        release = identify(entries, [requirements[0], media_dir, given["recipe"], *added])
        archive = cache_dir / f"{release}.tar.gz"
        if not module.check_mode and not archive.exists():
            write_archive(project, entries, release, archive)
            prune_archives(cache_dir)
    except (ReleaseError, OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"The application cannot be packed: {error}")
    else:
        module.exit_json(
            changed=False,
            release_id=release,
            archive=str(archive),
            files=len(entries),
            requirements=requirements,
            requires_python=requires_python,
        )


if __name__ == "__main__":
    main()
