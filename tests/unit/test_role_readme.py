"""The tables in the roles' READMEs are made from the specs and are current."""

import subprocess
import sys

from repository import PROJECT

SCRIPT = PROJECT / "scripts/role_readme.py"


def test_the_tables_are_current() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
