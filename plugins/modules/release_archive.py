#!/usr/bin/python
# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible module: a Django project as an archive that is named after its content."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: release_archive
short_description: Pack a Django project into an archive named after its content
description:
  - Packs a directory into a deterministic C(tar.gz) and names it after a hash of what is in it, so that the
    same input is the same release on every controller and at any time.
  - Meant to run on the controller, as in the example. The archive is a cache, so the module never
    reports a change.
  - Left out are version control directories, Python's caches, virtual environments and files named C(.env),
    which would carry a developer's secrets to the servers.
  - In check mode the release is named, but no archive is written.
options:
  source:
    description: Directory of the project, which has C(manage.py) at its top.
    type: path
    required: true
  cache_dir:
    description: Directory of the archives. It is made with mode 0700 when it is missing.
    type: path
    required: true
  requirements_file:
    description: Requirements file, relative to O(source). Every requirement in it must carry a hash.
    type: str
    default: requirements.txt
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
"""

IGNORED_NAMES = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".venv", ".tox", ".nox", ".mypy_cache", ".pytest_cache"}
    | {".ruff_cache", ".cache", ".env", ".DS_Store"}
)
IGNORED_SUFFIXES = (".pyc", ".pyo")
# The role's own places at the top of a release.
RESERVED_NAMES = ("static", ".complete", ".migrated")
# Not 0: GNU tar calls the year 1970 implausible, and says so for every file.
MTIME = 946684800
ARCHIVES_KEPT = 20


class ReleaseError(Exception):
    """The source cannot become a release; the message says what is wrong and how to mend it."""


@dataclass(frozen=True)
class Entry:
    """One file (mode, sha256 of its content) or symbolic link (mode 0, its target) of a release."""

    path: str
    mode: int
    value: str

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


def identify(entries: list[Entry], requirements_file: str, recipe: str) -> str:
    """12 hexadecimal digits over the entries, the name of the requirements file and the recipe."""
    digest = hashlib.sha256()
    for part in (requirements_file, recipe):
        digest.update(hashlib.sha256(part.encode()).digest())
    for entry in entries:
        digest.update(b"%s\0%o\0%s\0" % (os.fsencode(entry.path), entry.mode, os.fsencode(entry.value)))
    return digest.hexdigest()[:12]


def requirements_without_hash(text: str) -> list[str]:
    """The requirements in a requirements file that carry no hash, and options that bring in unhashed ones."""
    lines = re.sub(r"\\\r?\n", " ", text).splitlines()
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
    options_that_install = ("-e", "--editable", "-r", "--requirement")
    return [
        line.split(";")[0].strip()
        for line in bare
        if line and (line.startswith(options_that_install) if line.startswith("-") else "--hash=" not in line)
    ]


def check_project(source: Path, requirements_file: str) -> None:
    """Raise ReleaseError unless the directory is a Django project that can be deployed as it is."""
    if not source.is_dir():
        raise ReleaseError(f"'{source}' is not a directory on the controller. Name the project's directory.")
    if not (source / "manage.py").is_file():
        raise ReleaseError(
            f"'{source}' has no manage.py at its top. Name the directory that has it (not the one above)."
        )
    for name in RESERVED_NAMES:
        if os.path.lexists(source / name):
            raise ReleaseError(
                f"'{source}' has '{name}' at its top, where a release keeps its own. Rename it, for instance"
                " to 'assets' (for static files: in STATICFILES_DIRS as well), or remove what is generated."
            )
    requirements = source / requirements_file
    how = "uv pip compile --universal --generate-hashes requirements.in -o requirements.txt"
    if not requirements.is_file():
        raise ReleaseError(f"'{source}' has no requirements file '{requirements_file}'. Make one: {how}")
    unhashed = requirements_without_hash(requirements.read_text(encoding="utf-8"))
    if unhashed:
        raise ReleaseError(
            f"{len(unhashed)} requirements in '{requirements}' have no hash, the first is '{unhashed[0]}'."
            f" Lock the file: {how}"
        )


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
    content = (source / entry.path).read_bytes()
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


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "requirements_file": {"type": "str", "default": "requirements.txt"},
            "recipe": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    source, cache_dir = Path(module.params["source"]), Path(module.params["cache_dir"])
    requirements_file = module.params["requirements_file"]
    try:
        check_project(source, requirements_file)
        entries = read_entries(source)
        release = identify(entries, requirements_file, module.params["recipe"])
        archive = cache_dir / f"{release}.tar.gz"
        if not module.check_mode and not archive.exists():
            write_archive(source, entries, release, archive)
            prune_archives(cache_dir)
    except (ReleaseError, OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"The application cannot be packed: {error}")
    else:
        module.exit_json(changed=False, release_id=release, archive=str(archive), files=len(entries))


if __name__ == "__main__":
    main()
