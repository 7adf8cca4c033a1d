"""What starts the application's programs: each kind of program runs as it does by itself."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PACKAGE, wait_for

#: Says how it was started.
PROGRAM = """
import os, sys
print(__name__, sys.argv, sys.path[0], os.getpid())
print(getattr(sys.modules["__main__"], "MARK", None))
import beside
print("settings" if "rootstock_worker.settings" in sys.modules else "nothing")
MARK = "main"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a program, and a virtual environment with scripts."""
    for directory in (tmp_path, tmp_path / "scripts"):
        directory.mkdir(exist_ok=True)
        (directory / "program.py").write_text(PROGRAM)
        (directory / "beside.py").write_text(f"print('beside in {directory.name}')")
    (tmp_path / "bin").mkdir()
    for name in ("python", "python3"):
        (tmp_path / "bin" / name).symlink_to(sys.executable)
    (tmp_path / "bin/script").write_text(
        f"#!{tmp_path}/bin/python\nimport sys\nprint(__name__, sys.argv[1:])\n"
    )
    (tmp_path / "bin/shell").write_text('#!/bin/sh\necho "$0" "$@" "$$"\n')
    for name in ("script", "shell"):
        (tmp_path / "bin" / name).chmod(stat.S_IRWXU)
    (tmp_path / "pyvenv.cfg").write_text(Path(sys.prefix, "pyvenv.cfg").read_text())
    library = Path(tmp_path, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    library.mkdir(parents=True)
    (library / "site-packages").symlink_to(next(Path(p) for p in sys.path if p.endswith("site-packages")))
    return tmp_path


def start(place: Path, *command: str, launched: bool = True, source: str = "") -> "subprocess.Popen[str]":
    """Start a program in the place, launched or by itself."""
    python = str(place / "bin/python")
    whole = [python, "-m", "rootstock_worker.run", *command] if launched else [*command]
    process = subprocess.Popen(
        whole,
        cwd=place,
        env={
            "PATH": f"{place}/bin:{os.environ['PATH']}",
            "PYTHONPATH": f"{PACKAGE.parent}:src",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    if source:
        process.stdin.write(source)
    process.stdin.close()
    process.stdin = None
    return process


def told(process: "subprocess.Popen[str]") -> list[str]:
    """Return what it prints, with its own process id hidden."""
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output.replace(str(process.pid), "PID").splitlines()


@pytest.mark.parametrize(
    "command",
    [
        ("python", "program.py", "--all", "a b"),
        ("python3", "./scripts/program.py"),
        ("bin/python", "-u", "program.py"),
        ("python", "-W", "ignore", "-u", "-X", "dev", "program.py", "x"),
        ("python", "-m", "program", "-x"),
        ("python", "-", "y"),
    ],
)
def test_python_runs_as_by_itself(place: Path, command: tuple[str, ...]) -> None:
    source = PROGRAM if "-" in command else ""
    by_itself = told(start(place, *command, launched=False, source=source))
    launched = told(start(place, *command, source=source))
    assert by_itself.pop() == "nothing"
    assert launched.pop() == "settings"
    if source:
        # Python looks in the directory in which it runs, whatever it is called.
        by_itself = [line.replace("]  PID", f"] {place} PID") for line in by_itself]
    assert launched == by_itself
    assert launched[0].startswith("__main__ [")


def test_a_module_is_loaded_once(place: Path) -> None:
    (place / "once.py").write_text(
        "print('loaded')\nimport sys\nprint(sys.modules['__main__'].__spec__.name)"
    )
    assert told(start(place, "python", "-m", "once")) == ["loaded", "once"]


@pytest.mark.parametrize("name", ["script", "bin/script"])
def test_a_script_of_the_virtual_environment_runs(place: Path, name: str) -> None:
    assert told(start(place, name, "-A", "shop")) == ["__main__ ['-A', 'shop']"]


def test_what_is_no_python_is_executed_in_the_same_process(place: Path) -> None:
    (line,) = told(start(place, "shell", "a b"))
    assert line == f"{place}/bin/shell a b PID"
    assert told(start(place, "sh", "-c", "echo $$")) == ["PID"]


@pytest.mark.parametrize("command", [("-I", "-c", "print(1)"), ("-c", "print(1)"), ("-Im", "this")])
def test_what_python_is_to_run_without_us_is_left_to_it(place: Path, command: tuple[str, ...]) -> None:
    assert told(start(place, "python", *command))[0] in ("1", "The Zen of Python, by Tim Peters")


def test_paths_of_the_application_are_searched(place: Path) -> None:
    (place / "src").mkdir()
    (place / "src/lying_in_src.py").write_text("print('found')")
    assert told(start(place, "python", "-m", "lying_in_src")) == ["found"]


def test_its_exit_status_and_its_errors_are_the_programs(place: Path) -> None:
    process = start(place, "python", "-", source="import sys; print(1 / 0)")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.endswith("ZeroDivisionError: division by zero\n")
    process = start(place, "python", "-", source="import sys; sys.exit(7)")
    assert process.wait(60) == 7


def test_a_signal_reaches_the_program(place: Path) -> None:
    code = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
    code += "open('ready', 'w').close()\nwhile True: signal.pause()"
    process = start(place, "python", "-u", "-", source=code)
    wait_for((place / "ready").exists, 20, "it runs")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 9
