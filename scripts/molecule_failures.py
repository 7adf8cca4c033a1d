"""Run molecule and, if it fails, repeat at the end what failed: the end of a log is what people see first.

Usage: molecule_failures.py COMMAND [ARGUMENT...]
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What molecule draws around the output of others.
FRAME = re.compile(r"^\s*│ ?")
TASK = re.compile(r"(TASK|RUNNING HANDLER) \[")
# Of Ansible, of molecule, of an assertion and of pytest's summary.
FAILURE = re.compile(r"(fatal|failed): \[|.*Idempotence test failed|E {3}|(FAILED|ERROR) \S+::")
MAX_LINES = 30


def failures(output: Iterable[str]) -> Iterator[str]:
    """What failed, to the next empty line or MAX_LINES of it, and before a task's error its name."""
    task: list[str] = []
    left = 0
    for raw in output:
        line = FRAME.sub("", COLOUR.sub("", raw)).rstrip()
        if FAILURE.match(line):
            yield from task
            task, left = [], left or MAX_LINES
        elif TASK.match(line):
            task = [line]
        elif len(task) == 1 and not task[0].endswith("***"):
            # Molecule wraps long lines.
            task = [f"{task[0]} {line}"]
        if not line:
            left = 0
        if left:
            yield line
            left -= 1


def main(command: list[str]) -> int:
    """The exit status is the command's."""
    environment = {**os.environ, "COLUMNS": str(shutil.get_terminal_size().columns)}
    output: list[str] = []
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout  # noqa: S101 - for the type checker, PIPE is asked for above, 2026-11-28
        for line in process.stdout:
            print(line, end="", flush=True)
            output.append(line)
    if process.returncode:
        print("\nWhat failed:", *failures(output), sep="\n", flush=True)
    return process.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        # Molecule has been told as well, and says so.
        sys.exit(130)
