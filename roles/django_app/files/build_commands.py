"""Run the application's build commands in a release that is not finished, as the application's user.

Until the last command ends, the application may write in the release. Then the release is root's again, and
no link in it leads elsewhere. The next run removes what an interrupted run has left, and unpacks it again.

Arguments: clean, which removes a release that is not complete, or run; a JSON object with app, release and,
for run, environment_file and commands (lines of a shell). Exit status 1 if a command fails, with its last
lines on stderr; then the release is removed. Runs as root on Python 3.11 or newer, standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

APPLICATIONS = Path("/srv")
WITH_ENV = "/usr/local/lib/rootstock/with-env"
LOCK_SECONDS = 600
LINES = 20
#: What a release has of Rootstock's at its top. The commands keep the link, and make none of the marks.
ENVIRONMENT, STATIC, MARKS = ".venv", ".static", (".complete", ".migrated", ".commands")
#: The application may not write into its release, so the bytecode of what the commands have made is made now.
COMPILE = r"python -m compileall -q -x '/(\.venv|node_modules)/' . || :"


class Failure(Exception):
    """The release cannot be built; the message says why and what to type."""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory. Raises Failure after ten minutes."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        # The lock is the open file's, which this process shares with flock.
        command = ["flock", "--timeout", str(LOCK_SECONDS), str(handle)]
        if subprocess.run(command, pass_fds=[handle], check=False).returncode:
            raise Failure(f"Another build still runs after {LOCK_SECONDS} s: wait for it, or end it.")
        yield
    finally:
        os.close(handle)


def hand_over(release: Path, uid: int) -> None:
    """Make everything in a release the application's; who may read it stays the same."""
    for directory, names, files, handle in os.fwalk(release, topdown=False):
        for name in [*names, *files]:
            if directory != str(release) or name != ENVIRONMENT:
                os.chown(name, uid, -1, dir_fd=handle, follow_symlinks=False)
    os.chown(release, uid, -1)


def take_entry(name: str, directory: int, uid: int, owner: tuple[int, int]) -> None:
    """Take one entry of a directory, which the application cannot change any more."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if status.st_uid != uid:
        return
    if stat.S_ISLNK(status.st_mode):
        os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)
    elif stat.S_ISREG(status.st_mode):
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        try:
            os.fchown(file, *owner)
            os.fchmod(file, status.st_mode & 0o755 | 0o640)
        finally:
            os.close(file)
    elif not stat.S_ISDIR(status.st_mode):
        # A pipe or a socket of a program that has ended.
        os.unlink(name, dir_fd=directory)


def take_once(release: Path, uid: int, owner: tuple[int, int]) -> bool:
    """Take what is the application's in a release; return whether anything was."""
    found = False
    for _, names, files, handle in os.fwalk(release):
        status = os.fstat(handle)
        if status.st_uid == uid:
            found = True
            # First the directory: then nobody changes what is in it.
            os.fchown(handle, *owner)
            os.fchmod(handle, status.st_mode & 0o755 | 0o750)
        for name in [*names, *files]:
            take_entry(name, handle, uid, owner)
    return found


def take_back(release: Path, uid: int, owner: tuple[int, int]) -> None:
    """Make everything in a release root's, readable to the application, and writable to root alone."""
    # What a program makes while its directory is being taken is found the next time.
    while take_once(release, uid, owner) and uid != owner[0]:
        pass


def check(release: Path, environment: str) -> None:
    """Refuse what root would follow out of the release, or take for its own mark. Raises Failure."""
    found = []
    link, top = release / ENVIRONMENT, os.path.realpath(release)
    if not link.is_symlink() or str(link.readlink()) != environment:
        found.append(f"{ENVIRONMENT} is not what it was before the commands: leave it alone")
    for mark in MARKS:
        if os.path.lexists(release / mark):
            found.append(f"{mark} is Rootstock's: make no file of that name")
    for directory, names, files in os.walk(release):
        for path in (Path(directory, name) for name in [*names, *files]):
            if path.is_symlink() and path != link and not Path(os.path.realpath(path)).is_relative_to(top):
                shown = f"{path.relative_to(release)} is a link to {path.readlink()}"
                found.append(f"{shown}, outside of the release: put a copy there")
    if found:
        says = "django_app_build_commands have left what a release cannot have. Fix:"
        raise Failure("\n  ".join([says, *found]))


def run(command: str, user: str, home: str, release: Path, environment_file: str) -> None:
    """Run one command, and end all that it has started. Raises Failure."""
    own = [
        f"HOME={home}",
        f"STATIC_ROOT={release / STATIC}",
        f"PATH={release / ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin",
    ]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            # Again behind with-env: the environment file may have one of these names.
            [
                "runuser",
                "-u",
                user,
                "--",
                "env",
                *own,
                WITH_ENV,
                environment_file,
                "--",
                "env",
                *own,
                "sh",
                "-c",
                command,
            ],
            cwd=release,
            stdin=subprocess.DEVNULL,
            # No pipe: what a command leaves running would keep it open.
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if status:
            output.seek(0)
            last = "\n".join(output.read().decode(errors="replace").splitlines()[-LINES:])
            what = f"This one of django_app_build_commands failed, as user {user}:\n  {command}"
            raise Failure(f"{what}\nIts last lines:\n{last}")


def build(app: str, release: Path, environment_file: str, commands: list[str]) -> None:
    """Run the commands. Raises Failure; then the release is gone."""
    account = pwd.getpwnam(app)
    # Not /tmp, which may be memory: what packages are downloaded is here.
    home = tempfile.mkdtemp(prefix=f"{app}-build-", dir="/var/tmp")
    try:
        os.chown(home, account.pw_uid, account.pw_gid)
        environment = str((release / ENVIRONMENT).readlink())
        (release / STATIC).mkdir(exist_ok=True)
        hand_over(release, account.pw_uid)
        for command in [*commands, COMPILE]:
            run(command, app, home, release, environment_file)
        take_back(release, account.pw_uid, (os.geteuid(), account.pw_gid))
        check(release, environment)
        # Static files have another place, or none.
        with contextlib.suppress(OSError):
            (release / STATIC).rmdir()
    except BaseException:
        # Nothing that was the application's to write in is built upon.
        shutil.rmtree(release)
        raise
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main(action: str, argument: str) -> int:
    """Return the exit status."""
    os.umask(0o022)
    # So that an interrupted run removes what it has made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    given: dict[str, Any] = json.loads(argument)
    root = APPLICATIONS / given["app"]
    release = root / "releases" / given["release"]
    try:
        with locked(root / "environments"):
            if (release / ".complete").exists():
                return 0
            if action == "clean":
                if release.exists():
                    shutil.rmtree(release)
            else:
                build(given["app"], release, given["environment_file"], given["commands"])
    except (Failure, OSError) as error:
        print(
            f"The release could not be built, and the one before it still serves.\n{error}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
