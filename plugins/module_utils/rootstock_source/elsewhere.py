"""Code that is not on this machine: a copy for as long as it is read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .tree import Tree, files_in, files_in_wheel, tree_of

SECONDS = 120
COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class Copy:
    """What was got. Without a tree `why` says what failed. `ref` is the repository's own branch."""

    tree: Tree | None
    why: str = ""
    ref: str = ""


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a program has said."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with {done.returncode}"


def run(command: list[str], environment: dict[str, str]) -> str:
    """Run a program; return what it printed. Raises OSError with its last words if it fails."""
    try:
        done = subprocess.run(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer within {SECONDS} seconds") from None
    if done.returncode:
        raise OSError(last_words(done))
    return done.stdout


def from_git(url: str, ref: str, key: str) -> Copy:
    """Return the newest files of a repository. Nothing of it is run: no hook, no submodule, no filter."""
    # Nobody is asked for a password, and a host key that is not known is refused.
    ssh = f"ssh -o BatchMode=yes{f' -o IdentitiesOnly=yes -i {key}' if key else ''}"
    environment = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_COMMAND": ssh,
        "LC_ALL": "C",
    }
    with TemporaryDirectory() as place:
        git = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=false"]
        part = [] if COMMIT.fullmatch(ref) else ["--depth=1", *(["--branch", ref] if ref else [])]
        try:
            run([*git, "clone", "--quiet", "--no-checkout", *part, "--", url, place], environment)
            if COMMIT.fullmatch(ref):
                run([*git, "-C", place, "checkout", "--quiet", "--detach", ref], environment)
            else:
                run([*git, "-C", place, "checkout", "--quiet", "HEAD"], environment)
            branch = ref or run([*git, "-C", place, "rev-parse", "--abbrev-ref", "HEAD"], environment).strip()
            return Copy(tree_of(files_in(Path(place))), ref=branch)
        except OSError as error:
            return Copy(None, f"Git says: {error}")


def from_index(requirement: str, index: str) -> Copy:
    """Return the files of a package's wheel. A package without one would have to be run to be built."""
    with TemporaryDirectory() as place:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
            "download",
            "--quiet",
        ]
        pip += ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--retries=1", "--timeout=15"]
        pip += [f"--index-url={index}"] if index else []
        try:
            run([*pip, f"--dest={place}", "--", requirement], {})
            wheel = next(Path(place).glob("*.whl"))
            return Copy(tree_of(files_in_wheel(wheel)))
        except StopIteration:
            return Copy(None, "the index has no wheel of it")
        except (OSError, zipfile.BadZipFile) as error:
            return Copy(None, f"pip says: {error}")
