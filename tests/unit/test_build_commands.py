"""build_commands.py on a server that is made up. Who the processes run as is left out."""

import contextlib
import getpass
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from repository import PROJECT, source_module
from server import Server, executable

SOURCE = "roles/django_app/files/build_commands.py"
PROGRAM = PROJECT / SOURCE
build_commands = source_module(SOURCE)
# The application's user has to be one that is there.
APP = getpass.getuser()
NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server with a release that has its environment; the application is called like who runs this."""
    server = Server(tmp_path)
    (server.root / "srv/shop").rename(server.root / "srv" / APP)
    shutil.copy(PROJECT / "roles/supervisor/files/with-env", server.root / "usr/local/lib/rootstock/with-env")
    (server.root / "usr/local/lib/rootstock/with-env").chmod(0o755)
    (server.root / "etc/app.env").write_text("COLOUR='two words'\nSTATIC_ROOT=/elsewhere\nHOME=/elsewhere\n")
    (server.root / "var/tmp").mkdir()
    executable(server.root / "bin/runuser", f'shift; echo "as $1" >>{server.root}/calls; shift 2; exec "$@"')
    put(server)
    return server


def put(server: Server) -> Path:
    """Unpack the release; return its directory."""
    release = server.root / "srv" / APP / "releases/one"
    (release / "shop").mkdir(parents=True)
    (release / "shop/models.py").write_text("A = 1\n")
    (release / "manage.py").write_text("")
    (release / "manage.py").chmod(0o755)
    environment = server.root / "srv" / APP / "environments/e1/bin"
    environment.mkdir(parents=True, exist_ok=True)
    if not (environment / "python").exists():
        (environment / "python").symlink_to(sys.executable)
    (release / ".venv").symlink_to("../../environments/e1")
    return release


def argument(server: Server, *commands: str) -> str:
    return json.dumps(
        {
            "app": APP,
            "release": "one",
            "environment_file": str(server.root / "etc/app.env"),
            "commands": commands,
        }
    )


def refuses(server: Server, *commands: str) -> str:
    """Return what is said when the commands fail; nothing is left of them."""
    message = server.fails(PROGRAM, "run", argument(server, *commands))
    assert message.startswith("The release could not be built, and the one before it still serves.\n")
    assert not (server.root / "srv" / APP / "releases/one").exists()
    assert server.names("var/tmp") == set()
    return message


def test_commands_run_in_the_release_with_the_applications_environment(server: Server) -> None:
    release = server.root / "srv" / APP / "releases/one"
    commands = [
        'echo "$COLOUR|$PWD|$STATIC_ROOT|$HOME|$(command -v python)" >seen; touch "$HOME/cache"',
        "mkdir -p build && cat seen >build/second; echo 'B = 1' >shop/made.py",
        "python -c \"open('third', 'w')\"",
    ]
    assert server.run(PROGRAM, "run", argument(server, *commands)) == []
    colour, directory, static, home, python = (release / "build/second").read_text().strip().split("|")
    assert (colour, directory, static) == ("two words", str(release), f"{release}/.static")
    assert python == f"{release}/.venv/bin/python"
    assert Path(home).parent == server.root / "var/tmp"
    assert server.names("var/tmp") == set()
    assert set(server.calls) == {f"as {APP}"}
    assert (release / "third").exists()
    assert list(release.glob("shop/__pycache__/made.*.pyc"))
    # Nothing was collected, so the place is left to whoever links it.
    assert not (release / ".static").exists()


def test_static_files_of_a_command_are_kept(server: Server) -> None:
    server.run(PROGRAM, "run", argument(server, 'echo a >"$STATIC_ROOT/a.css"'))
    assert (server.root / "srv" / APP / "releases/one/.static/a.css").read_text() == "a\n"


def test_a_failing_command_ends_the_build_with_its_last_lines(server: Server) -> None:
    message = refuses(
        server, "touch first", "seq 100; echo it failed >&2; exit 3", f"touch {server.root}/third"
    )
    assert f"This one of django_app_build_commands failed, as user {APP}:\n  seq 100; echo it" in message
    assert message.endswith("Its last lines:\n" + "".join(f"{n}\n" for n in range(82, 101)) + "it failed\n")
    assert not (server.root / "third").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("ln -s /etc static", "static is a link to /etc, outside of the release"),
        # By its text it stays inside.
        ("mkdir -p a/b c && ln -s ../../c a/b/x && ln -s x/../.. a/b/y", "a/b/y is a link to x/../.."),
        ("rm .venv && ln -s /usr .venv", ".venv is not what it was"),
        ("rm .venv && mkdir .venv", ".venv is not what it was"),
        ("ln -s /etc/nologin .complete", ".complete is Rootstock's"),
        ("touch .migrated", ".migrated is Rootstock's"),
    ],
)
def test_what_root_would_follow_is_refused(server: Server, command: str, message: str) -> None:
    said = refuses(server, command)
    assert "django_app_build_commands have left what a release cannot have. Fix:" in said
    assert f"\n  {message}" in said


def test_links_inside_are_kept(server: Server) -> None:
    server.run(
        PROGRAM, "run", argument(server, "mkdir -p bin && ln -s ../manage.py bin/run && ln -s gone dangling")
    )
    assert (server.root / "srv" / APP / "releases/one/bin/run").resolve().name == "manage.py"


def test_what_a_command_leaves_running_is_ended(server: Server) -> None:
    server.run(PROGRAM, "run", argument(server, f"sleep 600 & echo $! >{server.root}/pid"))
    pid = int((server.root / "pid").read_text())
    with contextlib.suppress(ProcessLookupError):
        ended, _, _ = select.select([os.pidfd_open(pid)], [], [], 10)
        assert ended


def test_an_interrupted_run_removes_what_it_has_made(server: Server) -> None:
    running = server.root / "running"
    os.mkfifo(running)
    reader = os.open(running, os.O_RDONLY | os.O_NONBLOCK)
    with server.start(PROGRAM, "run", argument(server, f"echo >{running}; sleep 600")) as process:
        started, _, _ = select.select([reader], [], [], 30)
        assert started
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 1
    assert not (server.root / "srv" / APP / "releases/one").exists()
    assert server.names("var/tmp") == set()


def test_what_a_killed_run_has_left_is_removed_and_what_is_complete_is_not(server: Server) -> None:
    release = server.root / "srv" / APP / "releases/one"
    server.run(PROGRAM, "clean", argument(server))
    assert not release.exists()
    server.run(PROGRAM, "clean", argument(server))
    put(server)
    (release / ".complete").touch()
    server.run(PROGRAM, "clean", argument(server))
    server.run(PROGRAM, "run", argument(server, "touch again"))
    assert release.exists()
    assert not (release / "again").exists()


def test_two_builds_wait_for_each_other(server: Server) -> None:
    held = ["flock", str(server.root / "srv" / APP / "environments"), "sh", "-c", "echo held; cat"]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with server.start(PROGRAM, "clean", argument(server)) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            other.stdin.close()
            assert process.wait(timeout=60) == 0


# --- Owners and modes.


@root_only
def test_a_release_is_given_and_taken_back_with_all_that_is_in_it(tmp_path: Path) -> None:
    release, outside = tmp_path / "one", tmp_path / "outside"
    (release / "shop").mkdir(parents=True)
    (release / "shop/secret.ini").write_text("a")
    (release / "shop/secret.ini").chmod(0o640)
    (release / ".venv").symlink_to("../environments/e1")
    outside.write_text("root's")
    outside.chmod(0o600)
    build_commands.hand_over(release, NOBODY)
    owners = {path.name: path.lstat().st_uid for path in [release, *release.rglob("*")]}
    assert owners == {"one": NOBODY, "shop": NOBODY, "secret.ini": NOBODY, ".venv": 0}

    def made(name: str, mode: int) -> Path:
        path = release / name
        path.write_text("a")
        os.chown(path, NOBODY, NOBODY)
        path.chmod(mode)
        return path

    (release / "link").symlink_to(outside)
    os.chown(release / "link", NOBODY, NOBODY, follow_symlinks=False)
    os.link(outside, release / "another name")
    os.mkfifo(release / "pipe")
    os.chown(release / "pipe", NOBODY, NOBODY)
    (release / "shop").chmod(0o2777)
    made("setuid", 0o6777)
    made("private", 0o600)
    made("program", 0o755)
    build_commands.take_back(release, NOBODY, (0, NOBODY))
    found = {path.name: path.lstat() for path in [release, *release.rglob("*")]}
    assert {status.st_uid for status in found.values()} == {0}
    modes = {name: status.st_mode & 0o7777 for name, status in found.items()}
    assert modes["setuid"] == modes["program"] == modes["shop"] == 0o755
    assert modes["private"] == modes["secret.ini"] == 0o640
    assert "pipe" not in found
    assert found["private"].st_gid == NOBODY
    # Nothing of what is elsewhere has changed.
    assert (outside.stat().st_mode & 0o777, outside.stat().st_gid) == (0o600, 0)
