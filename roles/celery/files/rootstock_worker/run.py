"""Runs a program of the application with what all of them have of this package.

`python -m rootstock_worker.run PROGRAM [ARG...]` is PROGRAM [ARG...] in the same process: a script of the
virtual environment (gunicorn), or Python with a file, a module or a program on stdin (python manage.py
check). The inventory's celery_settings apply there, messages say when they were published, and beat keeps its
schedule. Anything else, such as a shell, is executed as it is.
"""

import os
import re
import runpy
import shutil
import sys
from pathlib import Path
from types import ModuleType

from rootstock_worker import beat, sent_at, settings

NAME = "rootstock_worker.run"
BIN = Path(sys.executable).parent
PYTHON = re.compile(r"python[0-9.]*")
#: Options of Python that take effect before a program is run. -I and -E would keep this package out.
OPTION = re.compile(r"-[BOPSbdqsuv]+|-[WX].*")


def is_here(path: Path) -> bool:
    """Whether a file belongs to this virtual environment, by whichever link."""
    return path.parent.resolve() == BIN.resolve()


def is_script(path: Path) -> bool:
    """Whether a file is a Python script."""
    with path.open("rb") as file:
        head = file.read(256)
    return head.startswith(b"#!") and b"python" in head


def run_source(source: str, name: str) -> None:
    """Run a program that is no file, as the main module."""
    module = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102 - it is the program, 2026-11-30


def run_file(path: str) -> None:
    """Run a file as Python does, which finds what lies beside it."""
    sys.path[0] = str(Path(path).absolute().parent)
    runpy.run_path(path, run_name="__main__")


def run_python(arguments: list[str]) -> None:
    """Run what Python is to run."""
    options = []
    while arguments and OPTION.fullmatch(arguments[0]):
        count = 2 if arguments[0] in ("-W", "-X") else 1
        options += arguments[:count]
        del arguments[:count]
    if options:
        command = [sys.executable, *options, "-m", NAME, "python", *arguments]
        os.execv(sys.executable, command)  # noqa: S606 - it is to be this process, 2026-11-30
    first, *rest = arguments or [""]
    if first == "-m" and rest:
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-":
        sys.argv = arguments
        run_source(sys.stdin.read(), "<stdin>")
    elif first and not first.startswith("-"):
        sys.argv = arguments
        run_file(first)
    else:
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - likewise, 2026-11-30


def main(program: str, *arguments: str) -> None:
    """Run the program in this process."""
    places = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    path = Path(shutil.which(program, path=places) or program)
    if is_here(path) and PYTHON.fullmatch(path.name):
        run_python([*arguments])
    elif is_here(path) and path.is_file() and is_script(path):
        sys.argv = [program, *arguments]
        run_file(str(path))
    else:
        os.execvp(path, [program, *arguments])  # noqa: S606 - likewise, 2026-11-30


if __name__ == "__main__":
    settings.install()
    sent_at.install()
    beat.install()
    main(*sys.argv[1:])
