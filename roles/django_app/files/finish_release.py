"""Collect the static files of a built release, load the application on trial, and mark it as complete.

Runs as root with the server's Python. The argument is a JSON object (see Given). Exit status 1 if the release
cannot run, with one report of all that it lacks on stderr. Prints "complete" when the release has become so.
"""

import fcntl
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

#: The text of inspect_release.py, which runs as the application's user: whoever starts this puts it before.
INSPECT: str
WITH_ENV = "/usr/local/lib/rootstock/with-env"
#: How long to wait for what an interrupted run has left running.
PREDECESSOR_SECONDS = 600
LAST_LINES = 20
#: Shorter values of secrets are part of too many words to be hidden.
SECRET_CHARACTERS = 6


class Given(TypedDict):
    """What the role says about the release and its surroundings."""

    user: str
    root: str
    release: str
    environment_file: str
    #: What every program of the application has beside the environment file.
    environment: dict[str, str]
    #: Names of the environment file whose values are never shown.
    secrets: list[str]
    #: A link to the uploads, relative to the release; empty for none.
    media_dir: str
    #: What inspect_release.py is told.
    expected: dict[str, Any]


class Failed(Exception):
    """A program of the application ended by an error; the text is its last lines."""


def wait_for_lock(root: Path) -> int:
    """Return the open file whose lock only this run has. Raises TimeoutError."""

    def give_up(*_: object) -> None:
        raise TimeoutError(
            f"another run has held the lock of {root}/environments for {PREDECESSOR_SECONDS} s"
        )

    handle = os.open(root / "environments", os.O_RDONLY)
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PREDECESSOR_SECONDS)
    fcntl.flock(handle, fcntl.LOCK_EX)
    signal.alarm(0)
    return handle


class Application:
    """The programs of a release, which run as the application's user and with its environment."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.release = Path(given["release"])
        self.has_manage = (self.release / "manage.py").exists()

    def run(self, *command: str, program: str | None = None) -> str:
        """Run a command in the release; return what it prints on stdout. Raises Failed."""
        own = [f"{name}={value}" for name, value in self.given["environment"].items()]
        prefix = ["runuser", "-u", self.given["user"], "--", "env", *own, WITH_ENV]
        done = subprocess.run(
            [*prefix, self.given["environment_file"], "--", *command],
            cwd=self.release,
            input=program or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if program is None else subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if done.returncode:
            raise Failed("\n".join((done.stdout + (done.stderr or "")).splitlines()[-LAST_LINES:]))
        return done.stdout

    def problems_of(self, *command: str) -> list[dict[str, Any]]:
        """Run a command; return the problem, with its last lines, if it fails."""
        try:
            self.run(*command)
        except Failed as failed:
            said = " ".join(command).replace(".venv/bin/", "").replace("python manage.py", "manage.py")
            return [trouble(f"{said} failed. Fix: correct what its last lines say:", str(failed))]
        return []

    def manage(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a management command; return the problem if it fails."""
        django = ["manage.py"] if self.has_manage else ["-m", "django"]
        return self.problems_of(".venv/bin/python", *django, *arguments)

    def masked(self, text: str) -> str:
        """The text without the secrets of the environment, and without the passwords of URLs."""
        values = {}
        for line in Path(self.given["environment_file"]).read_text().splitlines():
            for word in shlex.split(line, comments=True):
                name, _, value = word.partition("=")
                values[name] = value
        for name in self.given["secrets"]:
            if len(values.get(name, "")) >= SECRET_CHARACTERS:
                text = text.replace(values[name], "***")
        return re.sub(r"(://[^\s/@:]*):[^\s/@]+@", r"\1:***@", text)


# --- static files


def prepare(place: Path, user: str) -> None:
    """Make the directory of static files the application's to write in, until it is settled.

    What the application owns there is of a run that was cut, perhaps in the middle of a file. Any other file
    is the project's or a build command's: it becomes the oldest, because collectstatic replaces only what is
    older than its source.
    """
    place.mkdir(parents=True, exist_ok=True)
    account = pwd.getpwnam(user)
    for _, _, files, handle in os.fwalk(place):
        for name in files:
            if os.stat(name, dir_fd=handle, follow_symlinks=False).st_uid == account.pw_uid != os.geteuid():
                os.unlink(name, dir_fd=handle)
            else:
                os.utime(name, (0, 0), dir_fd=handle, follow_symlinks=False)
        os.fchown(handle, account.pw_uid, account.pw_gid)


def settle(place: Path) -> None:
    """Give the static files to who runs this, readable to all.

    A directory is taken from the application before its entries are looked at, and files are changed by their
    open handles: nothing that the application has left running can lead this elsewhere.
    """
    owner, group = os.geteuid(), os.getegid()
    for _, directories, files, handle in os.fwalk(place):
        os.fchown(handle, owner, group)
        os.fchmod(handle, 0o755)
        for name in [*directories, *files]:
            mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                os.chown(name, owner, group, dir_fd=handle, follow_symlinks=False)
            elif stat.S_ISREG(mode):
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
                os.fchown(file, owner, group)
                os.fchmod(file, 0o755 if mode & 0o111 else 0o644)
                if not os.fstat(file).st_mtime:
                    # Nginx tells the versions of a file apart by its time.
                    os.utime(file)
                os.close(file)
            elif not stat.S_ISDIR(mode):
                os.unlink(name, dir_fd=handle)


def is_below(place: str, release: Path) -> bool:
    """Whether a directory is the release's own, whatever links lead to it.

    The application's own process says where its static files are. This program, which is root, makes that
    directory the application's to write in.
    """
    real, top = Path(os.path.realpath(place)), Path(os.path.realpath(release))
    return real != top and real.is_relative_to(top) and not real.is_relative_to(top / ".venv")


def link_static(release: Path, place: str) -> Path:
    """Give the place of static files its one name in the release; return the place."""
    link = release / ".static"
    found = Path(os.path.normpath(place)) if place else link
    if found != link:
        if link.is_dir() and not link.is_symlink():
            # Made by a run before the settings had another place.
            shutil.rmtree(link)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(found, release))
    return found


# --- the report


def block(problems: Iterable[Mapping[str, Any]], requirements: list[str]) -> list[str]:
    """All variables of the problems as one block of YAML to paste."""
    found: dict[str, Any] = {}
    for problem in problems:
        for variable, value in problem["paste"].items():
            if isinstance(value, dict):
                found.setdefault(variable, {}).update(value)
            elif isinstance(value, list):
                # The list of the inventory is replaced, so it is repeated.
                there = found.setdefault(variable, list(requirements))
                there += [item for item in value if item not in there]
            elif variable == "app_settings_overlay":
                found.setdefault(variable, []).append(value)
            else:
                found.setdefault(variable, value)
    lines = []
    for variable, value in found.items():
        if variable == "app_settings_overlay":
            lines += [f"{variable}: |", *(f"  {line}" for line in overlay(value))]
        elif isinstance(value, dict):
            lines += [f"{variable}:", *(f"  {name}: {scalar(item)}" for name, item in value.items())]
        elif isinstance(value, list):
            lines += [f"{variable}:", *(f"  - {scalar(item)}" for item in value)]
        else:
            lines.append(f"{variable}: {scalar(value)}")
    return lines


def overlay(snippets: list[str]) -> list[str]:
    """One snippet of several, each import once and first."""
    lines = [line for snippet in snippets for line in snippet.splitlines()]
    imports = [line for line in dict.fromkeys(lines) if line.startswith(("import ", "from "))]
    return imports + [line for line in lines if line not in imports]


def scalar(value: Any) -> str:
    """A value of YAML, in quotes unless nothing in it has a meaning."""
    if isinstance(value, list):
        return f"[{', '.join(map(scalar, value))}]"
    return str(value) if re.fullmatch(r"[A-Za-z/][\w./=\[\]-]*", str(value)) else json.dumps(value)


def say(problems: list[dict[str, Any]], whole: bool, requirements: list[str]) -> str:
    """The report of all that the release lacks."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"The release cannot run: {count}.", *(f"- {problem['text']}" for problem in problems)]
    if paste := block(problems, requirements):
        lines += [
            "Add this to the inventory; a variable that is there already gets these values as well:",
            *paste,
        ]
    if not whole:
        lines.append("URLs, Celery and static files are looked at once the settings load.")
    return "\n".join(lines)


def trouble(text: str, lines: str = "") -> dict[str, Any]:
    """A problem that a program of the application reports itself, with its last lines."""
    return {"text": "\n    ".join([text, *lines.splitlines()]), "paste": {}}


# --- all of it


def proofs(application: Application, expected: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Load the application as its programs will: by manage.py, and by Gunicorn."""
    gunicorn = [".venv/bin/gunicorn", "--check-config"]
    if expected["interface"] == "asgi":
        gunicorn += ["--worker-class", "uvicorn_worker.UvicornWorker"]
    return application.manage("check") or application.problems_of(*gunicorn, expected["callable"])


def collect(application: Application, place: str) -> list[dict[str, Any]]:
    """Run collectstatic, which may write into the place only."""
    found = link_static(application.release, place)
    prepare(found, application.given["user"])
    if problems := application.manage("collectstatic", "--noinput"):
        return problems
    settle(found)
    return []


def finish(application: Application, inspect: str) -> int:
    """Return the exit status: 0 if the release can run."""
    given, release = application.given, application.release
    expected = given["expected"]
    complete = release / ".complete"
    done = complete.exists()
    if given["media_dir"] and not done:
        media = release / given["media_dir"]
        media.parent.mkdir(parents=True, exist_ok=True)
        if media.is_symlink():
            media.unlink()
        media.symlink_to(Path(given["root"], "shared/media"))

    try:
        report = json.loads(application.run(".venv/bin/python", "-", json.dumps(expected), program=inspect))
    except Failed as failed:
        text = (
            "The application ended its own process while it was loaded. Fix: correct what its last lines say:"
        )
        report = {"problems": [trouble(text, str(failed))], "whole": False, "collect": False, "place": ""}
    problems = report["problems"]
    if report["place"] and not is_below(report["place"], release):
        text = f"Static files are at {report['place']}: the place must be below the release's directory."
        problems.append(trouble(f"{text} Fix: correct STATIC_ROOT"))
    elif report["whole"] and not done:
        if report["collect"]:
            problems += collect(application, report["place"])
        else:
            # Nginx serves what the project or a build command has put there.
            link_static(release, report["place"]).mkdir(parents=True, exist_ok=True)
    if report["whole"] and not problems:
        for path, fix in report["manifests"].items():
            if not Path(path).exists():
                rule = "without this manifest of static files pages answer 500"
                problems.append(trouble(f"{path} is missing: {rule}. Fix: {fix}"))
    if not problems and expected["interface"]:
        problems += proofs(application, expected)
    if problems:
        text = say(problems, report["whole"], expected["requirements"])
        print(application.masked(text), file=sys.stderr)
        return 1
    if not done:
        subprocess.run(["sync", "-f", str(release)], check=True)
        complete.touch()
        print("complete")
    return 0


def main(given: str, inspect: str) -> int:
    os.umask(0o022)
    application = Application(json.loads(given))
    # Closed when this ends.
    wait_for_lock(Path(application.given["root"]))
    return finish(application, inspect)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], INSPECT))  # noqa: F821 - see above, 2026-11-30
