"""The reader of environment files, with the real shell."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from repository import PROJECT

SCRIPT = PROJECT / "roles/supervisor/files/with-env"
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def environment(file: Path, purpose: str | None = None) -> dict[str, str]:
    """What a program finds in its environment."""
    given = {"PATH": "/usr/bin:/bin"} | ({"ROOTSTOCK_PURPOSE": purpose} if purpose is not None else {})
    done = subprocess.run(
        ["sh", SCRIPT, file, "--", sys.executable, "-c", SHOW],
        env=given,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_a_path_of_the_release_is_completed_unless_the_application_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.env").write_text(
        "ROOTSTOCK_RELEASE__STATIC_ROOT=.static\nROOTSTOCK_RELEASE__OWN=.static\nOWN='/srv/own files'\n"
    )
    found = environment(tmp_path / "app.env", "WORKER")
    assert (found["STATIC_ROOT"], found["OWN"]) == (f"{tmp_path}/.static", "/srv/own files")
    assert not [name for name in found if "__" in name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "app.env"
    path.write_text(
        "# comment\nBROKER='redis://shop-app:a@x/1'\nPLAIN='it'\"'\"'s $HOME `id`'\n"
        "ROOTSTOCK_WORKER__BROKER='redis://shop-worker:$(id)@x/1'\nROOTSTOCK_BEAT__BROKER=beat\n"
    )
    return path


@pytest.mark.parametrize(
    ("purpose", "broker"),
    [
        (None, "redis://shop-app:a@x/1"),
        ("", "redis://shop-app:a@x/1"),
        ("FLOWER", "redis://shop-app:a@x/1"),
        ("WORKER", "redis://shop-worker:$(id)@x/1"),
        ("BEAT", "beat"),
    ],
)
def test_a_program_finds_what_is_for_its_purpose_and_nothing_of_another(
    file: Path, purpose: str | None, broker: str
) -> None:
    found = environment(file, purpose)
    assert found["BROKER"] == broker
    assert found["PLAIN"] == "it's $HOME `id`"
    assert not [name for name in found if "__BROKER" in name]


def test_a_release_brings_its_own_settings(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = tmp_path / "release"
    release.mkdir()
    monkeypatch.chdir(release)
    file.write_text("DJANGO_SETTINGS_MODULE=shop.settings\nPYTHONPATH=src\n")
    plain = environment(file)
    assert (plain["DJANGO_SETTINGS_MODULE"], plain["PYTHONPATH"]) == ("shop.settings", "src")
    (release / "rootstock_settings.py").touch()
    found = environment(file)
    assert found["DJANGO_SETTINGS_MODULE"] == "rootstock_settings"
    assert found["PYTHONPATH"] == f"src:{release}"
    file.write_text("DJANGO_SETTINGS_MODULE=shop.settings\n")
    assert environment(file)["PYTHONPATH"] == str(release)
