"""The sample application's own virtual environment, for tests that need the real Django and Celery."""

import functools
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from repository import PROJECT

REQUIREMENTS = PROJECT / "sample_app/requirements.txt"
UV = Path(sys.executable).parent / "uv"


@functools.cache
def python() -> Path:
    """Return the interpreter of an environment with the locked requirements, made once for each lock."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    environments = PROJECT / ".cache/application"
    if not (environments / wanted).exists():
        environments.mkdir(parents=True, exist_ok=True)
        # Only a whole one gets its name: a run that is cut off leaves nothing that looks usable.
        new = Path(tempfile.mkdtemp(prefix="new-", dir=environments))
        try:
            venv: list[str | Path] = ["venv", "--clear", "--relocatable", "--python", sys.executable, new]
            sync: list[str | Path] = ["pip", "sync", "--link-mode", "copy", "--python", new]
            for command in (venv, [*sync, "--require-hashes", REQUIREMENTS]):
                subprocess.run([UV, *command, "--quiet"], check=True)
            new.rename(environments / wanted)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return environments / wanted / "bin/python"
