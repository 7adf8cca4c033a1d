"""The module that names and packs a release: same content, same name; what cannot be deployed is refused."""

from __future__ import annotations

import importlib.util
import os
import sys
import tarfile
from pathlib import Path

import pytest

_path = Path(__file__).parents[2] / "plugins/modules/release_archive.py"
_spec = importlib.util.spec_from_file_location("release_archive", _path)
assert _spec is not None
assert _spec.loader is not None
release_archive = importlib.util.module_from_spec(_spec)
sys.modules["release_archive"] = release_archive
_spec.loader.exec_module(release_archive)

LOCKED = "django==5.2.19 \\\n    --hash=sha256:aa\n    # via -r requirements.in\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A minimal project."""
    root = tmp_path / "project"
    (root / "shop").mkdir(parents=True)
    (root / "manage.py").write_text("print('manage')\n")
    (root / "requirements.txt").write_text(LOCKED)
    (root / "shop/settings.py").write_text("DEBUG = False\n")
    return root


def name(project: Path, recipe: str = "") -> str:
    """The release's name."""
    release: str = release_archive.identify(release_archive.read_entries(project), "requirements.txt", recipe)
    return release


def test_name_is_twelve_hexadecimal_digits(project: Path) -> None:
    assert len(name(project)) == 12
    int(name(project), 16)


@pytest.mark.parametrize(
    "noise",
    [".git/HEAD", "shop/__pycache__/settings.cpython-311.pyc", "shop/old.pyc", ".venv/bin/python", ".env"],
)
def test_name_ignores_what_is_not_deployed(project: Path, noise: str) -> None:
    before = name(project)
    (project / noise).parent.mkdir(parents=True, exist_ok=True)
    (project / noise).write_text("noise")
    assert name(project) == before


def test_name_ignores_times_and_umask(project: Path) -> None:
    before = name(project)
    os.utime(project / "manage.py", (1, 1))
    (project / "manage.py").chmod(0o600)
    assert name(project) == before


def test_name_changes_with_everything_that_changes_the_release(project: Path) -> None:
    names = [name(project), name(project, recipe="another")]
    (project / "shop/settings.py").write_text("DEBUG = True\n")
    names.append(name(project))
    (project / "manage.py").chmod(0o755)
    names.append(name(project))
    (project / "shop/settings.py").rename(project / "shop/settings2.py")
    names.append(name(project))
    (project / "link.py").symlink_to("shop/settings2.py")
    names.append(name(project))
    (project / "link.py").unlink()
    (project / "link.py").symlink_to("manage.py")
    names.append(name(project))
    assert len(set(names)) == len(names)


def test_archive_has_the_same_bytes_again(project: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a/one.tar.gz", tmp_path / "b/two.tar.gz"
    release_archive.write_archive(project, release_archive.read_entries(project), "abc", first)
    os.utime(project / "manage.py", (1, 1))
    release_archive.write_archive(project, release_archive.read_entries(project), "abc", second)
    assert first.read_bytes() == second.read_bytes()
    assert list(first.parent.iterdir()) == [first]


def test_archive_holds_files_links_and_directories_of_root(project: Path, tmp_path: Path) -> None:
    (project / "manage.py").chmod(0o700)
    (project / "package").symlink_to("shop")
    archive = tmp_path / "one.tar.gz"
    release_archive.write_archive(project, release_archive.read_entries(project), "abc", archive)
    with tarfile.open(archive) as tar:
        members = {member.name: member for member in tar}
    assert sorted(members) == [
        "abc",
        "abc/manage.py",
        "abc/package",
        "abc/requirements.txt",
        "abc/shop",
        "abc/shop/settings.py",
    ]
    assert members["abc/manage.py"].mode == 0o755
    assert members["abc/shop/settings.py"].mode == 0o644
    assert members["abc/package"].linkname == "shop"
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {
        (0, 0, release_archive.MTIME)
    }


def test_file_that_changes_while_it_is_packed_is_refused(project: Path, tmp_path: Path) -> None:
    entries = release_archive.read_entries(project)
    (project / "manage.py").write_text("other")
    with pytest.raises(release_archive.ReleaseError, match="changed while it was packed"):
        release_archive.write_archive(project, entries, "abc", tmp_path / "cache/abc.tar.gz")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "shop/../../outside"])
def test_link_out_of_the_project_is_refused(project: Path, target: str) -> None:
    (project / "link").symlink_to(target)
    with pytest.raises(release_archive.ReleaseError, match="outside the project"):
        release_archive.read_entries(project)


def test_special_file_is_refused(project: Path) -> None:
    os.mkfifo(project / "pipe")
    with pytest.raises(release_archive.ReleaseError, match="neither a file"):
        release_archive.read_entries(project)


@pytest.mark.parametrize(
    ("text", "unhashed"),
    [
        (LOCKED, []),
        ("--index-url https://example.org/simple\n" + LOCKED, []),
        ("# only a comment\n\n" + LOCKED, []),
        ("django==5.2\n" + LOCKED, ["django==5.2"]),
        ("tzdata==1 ; sys_platform == 'win32'\n", ["tzdata==1"]),
        ("-r base.txt\n" + LOCKED, ["-r base.txt"]),
        ("-e .\n", ["-e ."]),
        ("django==5.2  # --hash=sha256:aa\n", ["django==5.2"]),
    ],
)
def test_requirements_without_hash(text: str, unhashed: list[str]) -> None:
    assert release_archive.requirements_without_hash(text) == unhashed


def test_project_is_accepted(project: Path) -> None:
    release_archive.check_project(project, "requirements.txt")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: root.rename(root.with_name("gone")), "not a directory"),
        (lambda root: (root / "manage.py").unlink(), r"no manage\.py"),
        (lambda root: (root / "requirements.txt").unlink(), "no requirements file"),
        (
            lambda root: (root / "requirements.txt").write_text("django\n"),
            "1 requirements .* no hash.*'django'",
        ),
        (lambda root: (root / "static").mkdir(), "'static' at its top"),
    ],
)
def test_project_that_cannot_be_deployed_is_refused(project: Path, spoil: object, message: str) -> None:
    assert callable(spoil)
    spoil(project)
    with pytest.raises(release_archive.ReleaseError, match=message):
        release_archive.check_project(project, "requirements.txt")


def test_cache_keeps_the_newest_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_archive, "ARCHIVES_KEPT", 2)
    for age in range(4):
        (tmp_path / f"{age}.tar.gz").write_text("")
        os.utime(tmp_path / f"{age}.tar.gz", (1000 - age, 1000 - age))
    release_archive.prune_archives(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.tar.gz", "1.tar.gz"]
