"""The second container of the scenario `security`: what it does to the server, and what comes out.

SECURITY_LONG  set: also the tests that take minutes
"""

import json
import os
import subprocess
from typing import Any

import pytest

from stack import PROJECT

NAME = "attacker12"
LONGEST = 300
LONG = pytest.mark.skipif(not os.environ.get("SECURITY_LONG"), reason="takes minutes: SECURITY_LONG=1")


def attack(name: str, **arguments: Any) -> Any:
    """Run a program of tests/attacks in the second container; return what it prints as JSON."""
    subprocess.run(["docker", "cp", "--quiet", f"{PROJECT}/tests/attacks", f"{NAME}:/opt"], check=True)
    command = ["docker", "exec", NAME, "python3", f"/opt/attacks/{name}.py", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
