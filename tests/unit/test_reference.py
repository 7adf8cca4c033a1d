"""docs/variables.md is made of the specs, is current, and has every variable that an inventory may set."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import reference

from repository import PROJECT, ROLES, load, options

SCRIPT = PROJECT / "scripts/reference.py"
PAGE = (PROJECT / "docs/variables.md").read_text()
WIRED = load(PROJECT / "playbooks/group_vars/all/wiring.yml")


def test_the_page_is_current() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_check_names_the_way_to_mend_a_page_that_is_not_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "variables.md"
    page.write_text(PAGE + "more\n")
    monkeypatch.setattr(reference, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["reference.py", "--check"])
    assert reference.main() == 1
    assert "run .venv/bin/python scripts/reference.py" in capsys.readouterr().err
    assert page.read_text() == PAGE + "more\n"


def test_every_variable_has_a_row_once_or_is_named_as_not_the_inventorys() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert len(rows) == len(set(rows))
    others = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^Set by the playbooks.*$", PAGE, re.MULTILINE))))
    described = set(load(PROJECT / "playbooks/variables.yml")["options"])
    in_roles = {name for role in ROLES for name in options(role)}
    assert set(rows) | others == described | in_roles
    assert set(rows) & set(WIRED) == set()
    assert in_roles & set(WIRED) <= others
