"""Make the virtual environment of a release whose code is there already.

A release links to the environment that another one with the same requirements has, if there is one. The
program may run any number of times: whatever an interrupted run left is made again.

Argument: a JSON object with app, release, requirements (uv.lock, pyproject.toml or a requirements file, then
the files that it is made of), python (such as 3.13; empty is Debian's python3), python_mirror_url (empty is
uv's own), requires_python (the specifiers of the project; empty is any) and package (the requirement that is
the whole application; empty is a project). Exit status 1 if there is no environment, with the reason on
stderr. Runs as root on Python 3.11 or newer, standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOOLS = Path("/opt/rootstock")
LOCK = TOOLS / "uv.txt"
UV = TOOLS / "uv"
PYTHON = Path("/usr/bin/python3")
EXTRA = ".extra-requirements.txt"
DEBIAN, UVS = "Debian's", "uv's"
LOCK_SECONDS = 600
LINES = 15
#: What Rootstock's own programs in the virtual environment need, and the newest that is proposed.
OLDEST_MINOR, NEWEST_MINOR = 11, 20
SPECIFIER = re.compile(r"\s*(~=|===|==|!=|<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)*)(\.\*|[a-z][a-z0-9.]*)?\s*")
#: In uv's words: a package that nothing can be found for, and one that is installed for another Python.
UNRESOLVED = re.compile(r"(\S+) requires Python ((?:[~=!<>]+[0-9][^\s,]*(?:, )?)+)")
UNFIT = re.compile(r"The package `(\S+)` requires Python (.+), but `\S+` is installed")
#: Prints what the metadata of a package say.
REQUIRES_PYTHON = """
import sys
from importlib.metadata import metadata
print(metadata(sys.argv[1])["Requires-Python"] or "")
"""

NETWORK = (
    "Can this host reach the package index (proxy, firewall, django_app_python_index_url)? Then run again."
)
INSTALL = (
    "A hash that does not match: lock the requirements anew. A package that does not build, or needs git:"
    f"\nname what it needs in django_app_system_packages. No answer: {NETWORK}"
)
INSTALL_EXTRA = (
    "These are django_app_extra_requirements, and the application's own requirements win: change the version"
    f"\nthat does not fit, or leave out what the application brings. No answer: {NETWORK}"
)
DOWNLOAD = (
    "django_app_python is {0}: Debian has none for this server, so uv fetches one, and could not. Fix: let"
    "\nthis host reach uv's downloads, set django_app_python_mirror_url, or install a /usr/bin/python{0}"
)

Version = tuple[int, int, int, int]


class Failure(Exception):
    """The release cannot be built; the message says why and what to type."""


class CommandFailure(Failure):
    """A command failed; `output` is all that it said."""

    def __init__(self, command: list[str], output: str, advice: str) -> None:
        last = "\n".join(output.splitlines()[-LINES:])
        super().__init__(f"This failed:\n  {shlex.join(command)}\nIts last lines:\n{last}\n{advice}")
        self.output = output


@dataclass(frozen=True)
class Interpreter:
    """A Python of this server. `origin` is DEBIAN or UVS."""

    path: Path
    version: str
    origin: str


# --- Which Python an application wants. Preflight reads these, too.


def version_key(text: str, final: bool = True) -> Version:
    """Return a version of Python as numbers; one before the final release comes before that."""
    numbers = [*map(int, text.split(".")), 0, 0][:3]
    return (numbers[0], numbers[1], numbers[2], int(final))


def allows(specifiers: str, version: str) -> bool:
    """Return whether a version of Python satisfies requires-python. Raises ValueError for other text."""
    has = version_key(version)
    for text in filter(str.strip, specifiers.split(",")):
        found = SPECIFIER.fullmatch(text)
        if not found:
            raise ValueError(text.strip())
        operator, bound, suffix = found[1], found[2], found[3] or ""
        wanted = version_key(bound, final=suffix in ("", ".*"))
        length = bound.count(".") + 1
        inside = has[:length] == wanted[:length]
        results = {
            "==": inside if suffix == ".*" else has == wanted,
            "===": has == wanted,
            "!=": not inside if suffix == ".*" else has != wanted,
            "~=": has >= wanted and has[: length - 1] == wanted[: length - 1],
            "<=": has <= wanted,
            ">=": has >= wanted,
            "<": has < wanted,
            ">": has > wanted,
        }
        if not results[operator]:
            return False
    return True


def suggestion(specifiers: str, version: str) -> str:
    """Return the oldest Python that would do, as django_app_python takes it; "" if there is none."""
    for minor in range(OLDEST_MINOR, NEWEST_MINOR + 1):
        wanted = f"3.{minor}"
        # The server has this one, and it does not do.
        if version_key(version)[:2] == (3, minor):
            continue
        if any(allows(specifiers, f"{wanted}.{patch}") for patch in range(40)):
            return wanted
    return ""


def refusal(what: str, specifiers: str, version: str, origin: str) -> str:
    """Return why a version of Python will not do for something, and what to type; "" if it will do."""
    try:
        if allows(specifiers, version):
            return ""
    except ValueError as error:
        return (
            f"requires-python of {what} is {specifiers}: '{error}' is no version specifier. "
            'Fix: write it as in requires-python = ">=3.12".'
        )
    wanted = suggestion(specifiers, version)
    fix = (
        f'django_app_python: "{wanted}"'
        if wanted
        else f"a version of {what} for Python 3.{OLDEST_MINOR} or newer"
    )
    has = f"the server's Python is {version} ({origin})"
    return f"requires-python of {what} is {specifiers}, and {has}. Fix: {fix}"


# --- The build.


def tools_environment() -> dict[str, str]:
    """Return the environment of pip and uv."""
    return {
        **os.environ,
        # Behind a proxy with a CA of its own: trust what the host trusts, not what a package brings.
        "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
        "UV_SYSTEM_CERTS": "1",
        "UV_CACHE_DIR": "/var/cache/rootstock/uv",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        # Nothing but django_app_python fetches an interpreter: Debian keeps its own secure.
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON_INSTALL_DIR": str(TOOLS / "python"),
    }


def run(advice: str, *command: str | Path, **environment: str) -> str:
    """Run a command and return its output. Raises CommandFailure."""
    done = subprocess.run(
        command,
        env=tools_environment() | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise CommandFailure([str(part) for part in command], done.stdout, advice)
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    """Return whether a command succeeds, whatever it says."""
    done = subprocess.run(
        command, env=tools_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode == 0


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    """Open a directory, whose locks end with the block."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def lock(handle: int, kind: str = "--exclusive") -> None:
    """Lock an open directory, or wait for it. Raises Failure after ten minutes."""
    command = ["flock", kind, "--timeout", str(LOCK_SECONDS), str(handle)]
    # The lock is the open file's, which this process shares with flock.
    if subprocess.run(command, pass_fds=[handle], check=False).returncode:
        raise Failure(
            f"Another build still runs on this server after {LOCK_SECONDS} s: wait for it, or end it."
        )


def uv_is_there() -> bool:
    """Return whether the server has uv in the version of the lock file."""
    made_of = UV / "uv.txt"
    return made_of.exists() and made_of.read_bytes() == LOCK.read_bytes()


def install_uv(tools: int) -> None:
    """Install uv, unless it is there; then it stays as long as the lock. Raises Failure.

    It is of all applications on this host: one makes it, and nobody replaces it while another one uses it.
    """
    lock(tools, "--shared")
    if uv_is_there():
        return
    lock(tools)
    if not uv_is_there():
        run("", "rm", "-rf", UV)
        run("Is python3-venv installed as it should be?", PYTHON, "-m", "venv", UV)
        run(NETWORK, UV / "bin/python", "-m", "pip", "install", "--require-hashes", "--requirement", LOCK)
        (UV / "uv.txt").write_bytes(LOCK.read_bytes())


def described(path: Path, origin: str) -> Interpreter:
    """Return an interpreter with its version. Raises CommandFailure."""
    script = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    return Interpreter(path, run(f"Does {path} work?", path, "-I", "-c", script).strip(), origin)


def find_interpreter(wanted: str, mirror: str) -> Interpreter:
    """Return the interpreter of the application, and install it if it is not there. Raises Failure."""
    if not wanted:
        return described(PYTHON, DEBIAN)
    package = f"python{wanted}"
    path = PYTHON.with_name(package)
    if not path.exists() and succeeds("apt-cache", "show", package):
        run(
            f"apt knows the package {package}, and could not install it.",
            *(
                "apt-get",
                "install",
                "--yes",
                "--no-install-recommends",
                "-o",
                "DPkg::Lock::Timeout=600",
                package,
            ),
            DEBIAN_FRONTEND="noninteractive",
        )
    if path.exists():
        return described(path, DEBIAN)
    find = (UV / "bin/uv", "python", "find", "--managed-python", "--no-project", wanted)
    if not succeeds(*find):
        source = ("--mirror", mirror) if mirror else ()
        run(
            DOWNLOAD.format(wanted),
            *(UV / "bin/uv", "python", "install", "--no-bin", *source, wanted),
            UV_PYTHON_DOWNLOADS="automatic",
        )
        # The application's user reads it.
        run("", "chmod", "-R", "go=rX", TOOLS / "python")
    return described(Path(run("", *find).strip()), UVS)


def environment_name(files: list[Path], interpreter: Interpreter) -> str:
    """Return the name of an environment: a hash of all that it is made of."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    digest.update(f"{interpreter.origin} {version_key(interpreter.version)[:2]}".encode())
    return digest.hexdigest()[:12]


def refuse_python(found: list[tuple[str, str]], interpreter: Interpreter) -> None:
    """Raise Failure for packages that are not for this Python; each is a name and its specifiers."""
    lines = [
        refusal(name, specifiers.strip(", \n"), interpreter.version, interpreter.origin)
        for name, specifiers in dict.fromkeys(found)
    ]
    if wrong := list(filter(None, lines)):
        raise Failure("\n".join(wrong))


def has_hashes(files: list[str]) -> bool:
    """Return whether a requirement in these files has a hash."""
    return any("--hash=" in Path(file).read_text(encoding="utf-8") for file in files)


def install(
    environment: Path, requirements: list[str], package: str, interpreter: Interpreter, work: Path
) -> None:
    """Install what the application brings, then what the inventory adds to it. Raises Failure."""
    pip = (UV / "bin/uv", "pip")
    target = ("--python", environment / "bin/python")
    options = (*target, "--compile-bytecode", "--link-mode", "copy")
    first = requirements[0]
    try:
        if Path(first).name == "uv.lock":
            locked = work / "requirements.txt"
            run(
                "Does uv.lock belong to pyproject.toml? Make it again: uv lock",
                *(
                    UV / "bin/uv",
                    "export",
                    "--frozen",
                    "--no-dev",
                    "--no-emit-project",
                    "--python",
                    interpreter.path,
                ),
                *("--project", Path(first).parent, "--output-file", locked),
            )
            run(INSTALL, *pip, "sync", *options, "--require-hashes", locked)
        elif Path(first).name != "pyproject.toml" and has_hashes(requirements):
            run(INSTALL, *pip, "sync", *options, "--require-hashes", first)
        else:
            run(INSTALL, *pip, "install", *options, "--requirement", first)
        if Path(EXTRA).exists():
            # What the application brings stays as it is.
            installed = work / "installed.txt"
            installed.write_text(run("", *pip, "freeze", "--quiet", *target))
            run(INSTALL_EXTRA, *pip, "install", *options, "--constraint", installed, "--requirement", EXTRA)
    except CommandFailure as error:
        refuse_python(UNRESOLVED.findall(error.output), interpreter)
        raise
    # uv installs a package that has a hash whatever Python it is for. Other conflicts are the application's.
    check = subprocess.run(
        [*pip, "check", *target], env=tools_environment(), capture_output=True, text=True, check=False
    )
    refuse_python(UNFIT.findall(check.stdout + check.stderr), interpreter)
    # uv takes no notice of the newest Python that a package is for: a dependency may know no better, an
    # application does.
    if package:
        name = re.split(r"[\[=]", package)[0]
        said = run("", environment / "bin/python", "-I", "-c", REQUIRES_PYTHON, name)
        refuse_python([(package, said)], interpreter)


def build(given: dict[str, Any]) -> None:
    """Make the environment and link it to the release. Raises Failure, OSError."""
    requirements = given["requirements"]
    root = Path("/srv", given["app"])
    os.chdir(root / "releases" / given["release"])
    with opened(root / "environments") as own, opened(TOOLS) as tools, tempfile.TemporaryDirectory() as work:
        # An interrupted run leaves its build going for a while.
        lock(own)
        install_uv(tools)
        interpreter = find_interpreter(given["python"], given["python_mirror_url"])
        refuse_python([("the application", given["requires_python"])], interpreter)
        extra = [Path(EXTRA)] if Path(EXTRA).exists() else []
        name = environment_name([*map(Path, requirements), *extra, LOCK], interpreter)
        environment = root / "environments" / name
        if not (environment / ".complete").exists():
            run(
                "Is there space left on the device?",
                *(UV / "bin/uv", "venv", "--clear", "--python", interpreter.path, environment),
            )
            install(environment, requirements, given["package"], interpreter, Path(work))
            # uv leaves a lock that everybody may write to.
            run("", "chmod", "-R", "go-w", environment)
            run("", "sync", "-f", environment)
            (environment / ".complete").touch()
        run("", "ln", "-sfn", f"../../environments/{name}", ".venv")
        # The application may not write into its release, so its bytecode is made here. A file that is no
        # valid Python is an error only where something imports it.
        succeeds(".venv/bin/python", "-m", "compileall", "-q", "-x", r"/\.venv/", ".")


def main(argument: str) -> int:
    """Return the exit status."""
    os.umask(0o022)
    try:
        build(json.loads(argument))
    except (Failure, OSError) as error:
        print(
            f"The release could not be built, and the one before it still serves.\n{error}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
