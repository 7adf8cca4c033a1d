"""A server's root directory that is made up, for the scripts that run on a server.

Their paths are absolute: each is run with the tree's root put before them.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_OWN_PATHS = re.compile(r'(?<=[\s="])/(srv|etc|opt|run|usr/local/lib|usr/bin/python3|var)(?=[/"\s])')


def executable(path: Path, text: str) -> None:
    """Write a shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


class Server:
    """A server with the application shop, and programs that note how they were called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for directory in (
            "bin",
            "etc/shop",
            "etc/supervisor/conf.d",
            "etc/supervisor/rootstock",
            "opt/rootstock",
            "run/shop",
            "srv/shop/environments",
            "srv/shop/releases",
            "srv/shop/shared",
            "usr/bin",
            "usr/local/lib/rootstock",
            "var/log/shop",
        ):
            (root / directory).mkdir(parents=True)
        executable(root / "usr/local/lib/rootstock/supervisor-apply", f'echo "apply $*" >>{root}/calls')
        self.supervisor("")

    def supervisor(self, status: str) -> None:
        """Have supervisorctl say that."""
        executable(self.root / "bin/supervisorctl", f"echo '{status}'")

    def start(self, script: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a script of a shell's or Python's, which finds what is in the server's file stdin there."""
        text = _OWN_PATHS.sub(rf"{self.root}/\1", script.read_text())
        assert str(self.root) in text
        # Not on stdin: Popen would have to feed it while the script runs.
        command = [sys.executable, "-c", text] if script.suffix == ".py" else ["sh", "-c", text, script.name]
        stdin = self.root / "stdin"
        return subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}", **environment},
            stdin=os.open(stdin if stdin.exists() else os.devnull, os.O_RDONLY),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self, script: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run a script; return its exit status and what it prints on stdout and stderr."""
        with self.start(script, *arguments, **environment) as process:
            stdout, stderr = process.communicate(timeout=120)
        return process.returncode, stdout, stderr

    def run(self, script: Path, *arguments: str, **environment: str) -> list[str]:
        """Run a script that succeeds in silence; return the lines that it prints."""
        status, stdout, stderr = self.ends(script, *arguments, **environment)
        assert (status, stderr) == (0, ""), stderr
        return stdout.splitlines()

    def fails(self, script: Path, *arguments: str, **environment: str) -> str:
        """Run a script that fails; return what it says."""
        status, _, stderr = self.ends(script, *arguments, **environment)
        assert status == 1, stderr
        return stderr

    @property
    def calls(self) -> list[str]:
        """What the programs have noted."""
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def names(self, directory: str) -> set[str]:
        """Names of what is in a directory."""
        return {path.name for path in (self.root / directory).iterdir()}

    def put(self, release: str, files: Mapping[str, str]) -> Path:
        """Unpack a release; return its directory."""
        directory = self.root / "srv/shop/releases" / release
        for name, text in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        return directory
