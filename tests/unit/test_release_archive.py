"""The module that names and packs a release: same content, same name; what cannot be deployed is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from repository import PROJECT, source_module

SOURCE = "plugins/modules/release_archive.py"
release_archive = source_module(SOURCE)

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
    entries = release_archive.read_entries(project)
    release: str = release_archive.identify(entries, ["requirements.txt", recipe])
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


def write(project: Path, files: dict[str, str]) -> None:
    """Put files into a project in the place of its requirements."""
    (project / "requirements.txt").unlink()
    for path, text in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)


PYPROJECT = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["django"]\n'


@pytest.mark.parametrize(
    ("files", "named", "expected"),
    [
        ({"requirements.txt": LOCKED}, "", ["requirements.txt"]),
        (
            {"requirements.txt": "--index-url https://example.org/simple\n# a comment\n\n" + LOCKED},
            "",
            ["requirements.txt"],
        ),
        (
            {"requirements.txt": "django\ncelery[redis]==5.6.3 ; python_version > '3'\n"},
            "",
            ["requirements.txt"],
        ),
        ({"requirements.txt": "shop @ git+https://example.org/shop@v1\n"}, "", ["requirements.txt"]),
        ({"pyproject.toml": PYPROJECT}, "", ["pyproject.toml"]),
        ({"pyproject.toml": PYPROJECT, "requirements.txt": "django\n"}, "", ["requirements.txt"]),
        (
            {"pyproject.toml": PYPROJECT, "requirements.txt": "django\n", "uv.lock": "version = 1\n"},
            "",
            ["uv.lock", "pyproject.toml"],
        ),
        (
            {"pyproject.toml": PYPROJECT, "requirements.txt": "django\n"},
            "pyproject.toml",
            ["pyproject.toml"],
        ),
        # Only configures tools.
        ({"pyproject.toml": "[tool.ruff]\n", "requirements.txt": "django\n"}, "", ["requirements.txt"]),
        (
            {
                "requirements/production.txt": "-r base.txt\n-c ../constraints.txt\ngunicorn\n",
                "requirements/base.txt": "django\n-r base.txt\n",
                "constraints.txt": "django<6\n",
            },
            "requirements/production.txt",
            ["requirements/production.txt", "requirements/base.txt", "constraints.txt"],
        ),
        # Constraints install nothing, so they need no hash.
        (
            {
                "requirements.txt": "--requirement=more.txt\n-cless.txt\n",
                "more.txt": LOCKED,
                "less.txt": "django<6\n",
            },
            "",
            ["requirements.txt", "more.txt", "less.txt"],
        ),
    ],
)
def test_files_that_say_what_to_install(
    project: Path, files: dict[str, str], named: str, expected: list[str]
) -> None:
    write(project, files)
    found = named or release_archive.find_requirements(project)
    assert release_archive.check_requirements(project, found) == expected


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"has no requirements at its top .*app_source_directory.*uv pip compile"),
        ({"requirements.txt": LOCKED + "celery==5 ; x\n"}, r"1 requirements .* no hash.*'celery==5'\. Lock"),
        ({"requirements.txt": LOCKED + "celery  # --hash=sha256:aa\n"}, "1 requirements .* no hash"),
        ({"requirements.txt": LOCKED + "-r b.txt\n", "b.txt": "celery\n"}, "1 requirements .* no hash"),
        ({"requirements.txt": "-r ../base.txt\n"}, r"'-r \.\./base\.txt', which is no file of the project"),
        ({"requirements.txt": "-r /etc/hostname\n"}, "no file of the project"),
        ({"requirements.txt": "-r gone.txt\n"}, "no file of the project"),
        ({"requirements.txt": "-e .\n"}, "'-e .', which installs a directory.*PYTHONPATH"),
        ({"requirements.txt": "./libs/a\n"}, "installs a directory"),
        ({"requirements.txt": "libs/a\n"}, "installs a directory"),
        ({"requirements.txt": "a[b] @ file:///libs/a\n"}, "installs a directory"),
        ({"uv.lock": "version = 1\n"}, r"'uv\.lock' without a pyproject\.toml"),
        ({"pyproject.toml": "[tool.poetry]\n"}, r"no table \[project\]"),
        ({"pyproject.toml": "["}, "is no TOML"),
    ],
)
def test_requirements_that_cannot_be_installed_are_refused(
    project: Path, files: dict[str, str], message: str
) -> None:
    write(project, files)
    with pytest.raises(release_archive.ReleaseError, match=message):
        release_archive.check_requirements(project, release_archive.find_requirements(project))


def test_requirements_file_that_is_named_must_be_there(project: Path) -> None:
    with pytest.raises(release_archive.ReleaseError, match=r"no file 'a\.txt'.*django_app_requirements_file"):
        release_archive.check_requirements(project, "a.txt")


def test_directory_above_the_project_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(release_archive.ReleaseError, match=r"neither manage\.py nor requirements at its top"):
        release_archive.find_requirements(tmp_path)


@pytest.mark.parametrize(
    ("path", "media_dir", "message"),
    [
        ("media/a.png", "media", r"'media/a\.png', but 'media' \(django_app_media_dir\).*MEDIA_ROOT"),
        ("media", "media", "has 'media'"),
        ("shop/public/a.png", "shop/public", "has 'shop/public/a.png'"),
        (".static", "", r"'\.static' at its top"),
        (".complete", "", r"'\.complete' at its top"),
        (".commands", "", r"'\.commands' at its top"),
    ],
)
def test_what_the_server_puts_there_itself_is_refused(
    project: Path, path: str, media_dir: str, message: str
) -> None:
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).touch()
    with pytest.raises(release_archive.ReleaseError, match=message):
        release_archive.check_places(release_archive.read_entries(project), media_dir)


def test_a_directory_of_uploads_that_git_keeps_is_empty(project: Path) -> None:
    for name in ("static/a.css", "static/.gitignore", "uploads/.gitignore"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).touch()
    entries = release_archive.without_placeholders(release_archive.read_entries(project), "uploads")
    release_archive.check_places(entries, "uploads")
    assert {entry.path for entry in entries} >= {"static/a.css", "static/.gitignore"}
    assert not [entry for entry in entries if entry.path.startswith("uploads")]


# --- The module as Ansible runs it.


def run(cache: Path, **options: Any) -> dict[str, Any]:
    """Return what the module answers."""
    arguments = {"cache_dir": str(cache), "_ansible_remote_tmp": str(cache), **options}
    done = subprocess.run(
        [sys.executable, PROJECT / SOURCE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def contents(archive: str) -> dict[str, str]:
    """Return the texts in an archive by their path below the release."""
    with tarfile.open(archive) as tar:
        files = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read().decode() for name, file in files.items() if file}


def test_a_package_is_its_name(tmp_path: Path) -> None:
    answer = run(tmp_path, package="shop[web]==1.2.3", extra_requirements=["gunicorn==27.0.1"])
    assert contents(answer["archive"]) == {
        "requirements.txt": "shop[web]==1.2.3\n",
        ".extra-requirements.txt": "gunicorn==27.0.1\n",
    }
    assert answer["requirements"] == ["requirements.txt"]
    other = run(tmp_path, package="shop[web]==1.2.4", extra_requirements=["gunicorn==27.0.1"])
    assert other["release_id"] != answer["release_id"]


def test_a_project_and_what_is_added_to_it(project: Path, tmp_path: Path) -> None:
    (project / "uploads").mkdir()
    (project / "uploads/.gitkeep").touch()
    options = {"source": str(project.parent), "subdirectory": project.name}
    answers = [
        run(tmp_path, **options, **more)
        for more in (
            {},
            {"extra_requirements": ["gunicorn==27.0.1"]},
            {"media_dir": "uploads"},
            {"recipe": "another"},
        )
    ]
    assert len({answer["release_id"] for answer in answers}) == len(answers)
    assert contents(answers[1]["archive"])[".extra-requirements.txt"] == "gunicorn==27.0.1\n"
    assert "uploads/.gitkeep" in contents(answers[0]["archive"])
    assert "uploads/.gitkeep" not in contents(answers[2]["archive"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "/nowhere"}, "'/nowhere' is not a directory on the controller"),
        ({"source": "/", "subdirectory": "nowhere"}, "'nowhere' is no directory of the source"),
        ({"source": "/", "package": "a==1"}, "mutually exclusive"),
        ({}, "one of the following is required: source, package"),
    ],
)
def test_a_source_that_is_none_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    assert message in run(tmp_path, **options)["msg"]


def test_cache_keeps_the_newest_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_archive, "ARCHIVES_KEPT", 2)
    for age in range(4):
        (tmp_path / f"{age}.tar.gz").write_text("")
        os.utime(tmp_path / f"{age}.tar.gz", (1000 - age, 1000 - age))
    release_archive.prune_archives(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.tar.gz", "1.tar.gz"]


# --- What the inventory adds.


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pyproject.toml": "[project]\nrequires-python = '>=3.12'\n"}, ">=3.12"),
        ({"pyproject.toml": "[project]\nname = 'shop'\n"}, ""),
        ({"pyproject.toml": "[tool.ruff]\n"}, ""),
        ({}, ""),
        # Where there is a lock, it counts: uv has made it for these.
        (
            {
                "uv.lock": "requires-python = '==3.14.*'\n",
                "pyproject.toml": "[project]\nrequires-python = '>=3.12'\n",
            },
            "==3.14.*",
        ),
    ],
)
def test_the_python_that_a_project_is_for(project: Path, files: dict[str, str], expected: str) -> None:
    for file, text in files.items():
        (project / file).write_text(text)
    requirements = "uv.lock" if "uv.lock" in files else "requirements.txt"
    assert release_archive.read_requires_python(project, requirements) == expected


def test_the_python_of_a_project_whose_requirements_are_elsewhere(project: Path) -> None:
    (project / "pyproject.toml").write_text("[project]\nrequires-python = '>=3.12'\n")
    (project / "requirements").mkdir()
    assert release_archive.read_requires_python(project, "requirements/production.txt") == ">=3.12"


def refused(project: Path, paths: list[str], overlay: str = "", places: tuple[str, ...] = ()) -> str:
    """Return what is said of additions."""
    with pytest.raises(release_archive.ReleaseError) as error:
        release_archive.check_additions(release_archive.read_entries(project), paths, overlay, list(places))
    return str(error.value)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("manage.py", "the project has a file of that path"),
        ("shop", "the project has a file of that path"),
        ("manage.py/a", "'manage.py' is no directory of the project"),
        ("link/a", "'link' is no directory of the project"),
        ("/etc/passwd", "a path is relative"),
        ("../a", "a path is relative"),
        ("shop/../../a", "a path is relative"),
        (".", "a path is relative"),
        ("a/", "a path is relative"),
        (".venv/lib/a.py", "the name is one that a release keeps for itself"),
        (".complete", "the name is one that a release keeps for itself"),
        ("rootstock_settings.py", "the name is one that a release keeps for itself"),
        ("staticfiles/a.css", "'staticfiles' is made when the release is built"),
    ],
)
def test_files_that_a_release_cannot_be_given(project: Path, path: str, rule: str) -> None:
    (project / "link").symlink_to("shop")
    message = refused(project, [path], places=("staticfiles",))
    assert message.startswith(f"app_files has '{path}': {rule}")
    assert ". Fix: " in message


def test_all_that_cannot_be_added_is_told_at_once(project: Path) -> None:
    message = refused(project, ["../a", "b", "b", "c", "c/d", "shop.ini"], "DEBUG = = 1")
    lines = message.splitlines()
    assert len(lines) == 4
    assert lines[1] == "app_files has 'b' twice: a file has one content. Fix: leave one of them out."
    assert "'c' would be a file and a directory" in lines[2]
    assert "app_settings_overlay is no Python: invalid syntax in line 1, 'DEBUG = = 1'" in lines[3]


def test_files_of_directories_of_the_project_are_added(project: Path) -> None:
    entries = release_archive.read_entries(project)
    release_archive.check_additions(entries, ["shop/local.ini", "config/a", "config/b"], "import os\n", [])


def test_settings_follow_those_of_the_application(project: Path) -> None:
    (project / "shop/settings.py").write_text("DEBUG = True\nNAME = 'own'\nother = 1\n_PRIVATE = 1\n")
    overlay = "import os\nNAME = NAME + ' {and} more'\nHOME = os.environ['HOME']"
    text = release_archive.SETTINGS_TEXT.format(module="shop.settings", overlay=overlay)
    (project / "rootstock_settings.py").write_text(text)
    shown = "import rootstock_settings as s; print({n: getattr(s, n) for n in dir(s) if n.isupper()})"
    done = subprocess.run(
        [sys.executable, "-c", shown],
        cwd=project,
        env={"HOME": "/home/me", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = {"DEBUG": True, "HOME": "/home/me", "NAME": "own {and} more", "_PRIVATE": 1}
    assert done.stdout.strip() == str(expected)
