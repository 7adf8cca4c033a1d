"""finish-release and run-commands on a server that is made up, with the sample application's real Django.

Who the processes run as is left out.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import application
from repository import PROJECT
from server import Server, executable

FILES = PROJECT / "roles/django_app/files"
FINISH, COMMANDS = FILES / "finish-release", FILES / "run-commands"

# --- finish-release, with the sample application's real Django, Celery and Gunicorn

PROJECT_FILES = {
    "manage.py": "from django.core.management import execute_from_command_line as run\n"
    "import sys\nprint('by manage.py')\nrun(sys.argv)\n",
    "settings.py": """
import os
from pathlib import Path
SECRET_KEY = os.environ["SECRET_KEY"]
INSTALLED_APPS = ["django.contrib.staticfiles"]
ROOT_URLCONF = "urls"
STATIC_URL = "static/"
STATIC_ROOT = os.environ["STATIC_ROOT"]
STATICFILES_DIRS = [Path(__file__).parent / "assets"]
""",
    "assets/site.css": "body {}\n",
    "urls.py": "urlpatterns = []\n",
    "web.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
}
ENVIRONMENT = "DJANGO_SETTINGS_MODULE=settings\nSECRET_KEY=x\nPYTHONDONTWRITEBYTECODE=1\n"


@pytest.fixture
def host(tmp_path: Path) -> Server:
    """A server with an environment file, on which everything runs as one user."""
    server = Server(tmp_path)
    shutil.copy(PROJECT / "roles/supervisor/files/with-env", server.root / "usr/local/lib/rootstock/with-env")
    (server.root / "usr/local/lib/rootstock/with-env").chmod(0o755)
    (server.root / "etc/shop/app.c1.env").write_text(ENVIRONMENT)
    (server.root / "etc/shop/app.c2.env").write_text(ENVIRONMENT)
    # runuser -u shop -- COMMAND...
    executable(server.root / "bin/runuser", f'shift; echo "as $1" >>{server.root}/users; shift 2; exec "$@"')
    executable(server.root / "bin/install", 'while [ $# -gt 1 ]; do shift; done; mkdir -p "$1"')
    executable(server.root / "bin/chown", f'echo "chown $*" >>{server.root}/calls')
    return server


def unpack(host: Server, files: dict[str, str], release: str = "one") -> Path:
    """Put a release that is built; return its directory."""
    directory = host.put(release, files)
    (directory / ".venv").symlink_to(application.python().parent.parent)
    return directory


def finishing(
    host: Server,
    static: str = "static",
    media: str = "",
    interface: str = "wsgi",
    entry: str = "web:application",
) -> list[str]:
    environment = str(host.root / "etc/shop/app.c1.env")
    return ["shop", "one", environment, static, media, interface, entry]


def test_a_release_is_finished(host: Server) -> None:
    release = unpack(host, PROJECT_FILES)
    assert host.run(FINISH, *finishing(host)) == []
    assert (release / ".complete").exists()
    assert (release / "static/site.css").read_text() == "body {}\n"
    assert (release / ".static").readlink() == Path("static")
    assert set((host.root / "users").read_text().splitlines()) == {"as shop"}
    assert host.calls == ["chown -R root:root static"]
    # What is complete is left alone.
    (release / "static/site.css").unlink()
    host.run(FINISH, *finishing(host))
    assert not (release / "static/site.css").exists()


def test_a_release_without_manage_py_is_finished(host: Server) -> None:
    release = unpack(host, {name: text for name, text in PROJECT_FILES.items() if name != "manage.py"})
    host.run(FINISH, *finishing(host))
    assert (release / "static/site.css").exists()
    (release / ".complete").unlink()
    (release / "urls.py").write_text("import nowhere\n")
    assert "\n  python -m django check\n" in host.fails(FINISH, *finishing(host))


def test_where_it_does_not_serve_its_urls_are_not_loaded(host: Server) -> None:
    release = unpack(host, PROJECT_FILES | {"urls.py": "import nowhere\n"})
    host.run(FINISH, *finishing(host, interface="", entry=""))
    assert (release / "static/site.css").exists()
    assert (release / ".complete").exists()


def test_static_files_where_the_application_wants_them(host: Server) -> None:
    settings = PROJECT_FILES["settings.py"].replace(
        'os.environ["STATIC_ROOT"]', 'Path(__file__).parent / "public/files"'
    )
    release = unpack(host, PROJECT_FILES | {"settings.py": settings})
    host.run(FINISH, *finishing(host, static="public/files"))
    for path in ("public/files", ".static"):
        assert (release / path / "site.css").exists()
    assert host.calls == ["chown -R root:root public/files"]


def test_the_applications_own_static_directory_stays(host: Server) -> None:
    files = {name.replace("assets/", "static/"): text for name, text in PROJECT_FILES.items()}
    files["settings.py"] = files["settings.py"].replace('"assets"', '"static"')
    release = unpack(host, files)
    for _ in range(2):
        host.run(FINISH, *finishing(host, static="staticfiles"))
        assert not (release / "static").is_symlink()
        assert (release / "static/site.css").exists()
        assert (release / ".static/site.css").exists()
        # As after an interruption.
        (release / ".complete").unlink()


def test_static_files_that_go_elsewhere_are_noticed(host: Server) -> None:
    settings = PROJECT_FILES["settings.py"].replace('os.environ["STATIC_ROOT"]', '"/proc/nowhere"')
    release = unpack(host, PROJECT_FILES | {"settings.py": settings})
    message = host.fails(FINISH, *finishing(host))
    assert "manage.py collectstatic --noinput" in message
    assert "name the directory of STATIC_ROOT, below the project, in django_app_static_dir" in message
    assert not (release / ".complete").exists()


def test_an_application_without_static_files_is_finished(host: Server) -> None:
    settings = PROJECT_FILES["settings.py"].replace('"django.contrib.staticfiles"', "")
    release = unpack(host, PROJECT_FILES | {"settings.py": settings})
    host.run(FINISH, *finishing(host))
    assert (release / ".complete").exists()


def test_uploads_are_beside_the_releases(host: Server) -> None:
    release = unpack(host, PROJECT_FILES)
    host.run(FINISH, *finishing(host, media="files/uploads"))
    assert (release / "files/uploads").readlink() == host.root / "srv/shop/shared/media"


def test_a_host_that_does_not_serve_needs_no_gunicorn(host: Server) -> None:
    release = unpack(host, PROJECT_FILES | {"web.py": "import nowhere\n"})
    assert "gunicorn --check-config web:application" in host.fails(FINISH, *finishing(host))
    host.run(FINISH, *finishing(host, interface="", entry=""))
    assert (release / ".complete").exists()


def environment_with(host: Server, *paths: str) -> None:
    """Give the release an environment that has these files only."""
    release = host.put("one", PROJECT_FILES)
    for path in ("bin/python", *paths):
        (release / ".venv" / path).parent.mkdir(parents=True, exist_ok=True)
        executable(release / ".venv" / path, f'echo "$0 $*" >>{host.root}/calls')


UVICORN = "lib/python3.11/site-packages/uvicorn"


@pytest.mark.parametrize(
    ("there", "interface", "missing"),
    [
        ((), "wsgi", "celery[redis]==5.6.3"),
        (("bin/celery",), "wsgi", "gunicorn==27.0.1"),
        (("bin/celery", "bin/gunicorn"), "asgi", "uvicorn==0.54.0"),
        (("bin/celery", "bin/gunicorn", UVICORN), "asgi", "uvicorn-worker==0.4.0"),
    ],
)
def test_a_missing_program_is_named_with_the_line_to_add(
    host: Server, there: tuple[str, ...], interface: str, missing: str
) -> None:
    environment_with(host, *there)
    message = host.fails(FINISH, *finishing(host, interface=interface))
    assert f"{missing.split('==')[0]} is not among the requirements" in message
    assert f"Add '{missing}' to them, or to django_app_extra_requirements." in message


def test_an_asgi_application_is_loaded_as_it_will_be(host: Server) -> None:
    environment_with(host, "bin/celery", "bin/gunicorn", UVICORN, f"{UVICORN}_worker")
    host.run(FINISH, *finishing(host, interface="asgi", entry="web:app"))
    assert host.calls[-1] == (
        ".venv/bin/gunicorn --check-config --worker-class uvicorn_worker.UvicornWorker web:app"
    )


# --- run-commands

NOTES = """import os, sys
from pathlib import Path
if "fail" in sys.argv:
    sys.exit("\\n".join(["it failed", *map(str, range(19))]))
with Path(os.environ["HOME"], "notes").open("a") as notes:
    print(os.environ["SECRET_KEY"], *sys.argv, sep="|", file=notes)
"""


@pytest.fixture
def release(host: Server) -> Server:
    """A server with a release whose management commands note how they were called."""
    directory = host.put("one", {"manage.py": NOTES})
    (directory / ".venv/bin").mkdir(parents=True)
    (directory / ".venv/bin/python").symlink_to(sys.executable)
    return host


def notes(host: Server) -> list[str]:
    file = host.root / "srv/shop/shared/notes"
    return file.read_text().splitlines() if file.exists() else []


def test_commands_run_once_in_their_order(release: Server) -> None:
    commands = ["load 'two words' --all", "sync"]
    assert release.run(COMMANDS, "shop", "one", "c1", "", "", *commands) == commands
    assert notes(release) == ["x|manage.py|load|two words|--all", "x|manage.py|sync"]
    assert set((release.root / "users").read_text().splitlines()) == {"as shop"}
    assert release.run(COMMANDS, "shop", "one", "c1", "", "", *commands) == []
    assert len(notes(release)) == 2


def test_another_configuration_or_command_runs_them_again(release: Server) -> None:
    release.run(COMMANDS, "shop", "one", "c1", "", "", "sync")
    assert release.run(COMMANDS, "shop", "one", "c2", "", "", "sync") == ["sync"]
    assert release.run(COMMANDS, "shop", "one", "c2", "", "", "sync", "load") == ["sync", "load"]


def test_a_failing_command_says_its_last_lines_and_runs_again(release: Server) -> None:
    message = release.fails(COMMANDS, "shop", "one", "c1", "", "", "sync", "fail now", "later")
    assert "one of django_app_commands failed, as user shop:\n  fail now\n" in message
    assert message.endswith("Its last lines:\nit failed\n" + "".join(f"{n}\n" for n in range(19)))
    assert len(notes(release)) == 1
    assert release.run(COMMANDS, "shop", "one", "c1", "", "", "sync", "later") == ["sync", "later"]


def test_commands_without_manage_py(release: Server) -> None:
    directory = release.root / "srv/shop/releases/one"
    (directory / "manage.py").unlink()
    release.put("one", {"django/__main__.py": NOTES, "django/__init__.py": ""})
    release.run(COMMANDS, "shop", "one", "c1", "", "", "sync")
    assert notes(release) == [f"x|{directory}/django/__main__.py|sync"]


def test_commands_are_started_by_the_launcher(release: Server) -> None:
    directory = release.root / "srv/shop/releases/one"
    (directory / "launcher").write_text("import os, sys\nos.environ['SECRET_KEY'] += '+'\n")
    with (directory / "launcher").open("a") as more:
        more.write("assert os.environ['LIBRARY'] == '/l'\nos.execv(sys.argv[1], sys.argv[1:])\n")
    launcher = ".venv/bin/python launcher"
    command = "load 'two words'"
    assert release.run(COMMANDS, "shop", "one", "c1", "LIBRARY=/l", launcher, command) == [command]
    assert notes(release) == ["x+|manage.py|load|two words"]


def test_commands_wait_for_those_of_an_interrupted_run(release: Server) -> None:
    held = ["flock", str(release.root / "srv/shop/environments"), "sh", "-c", "echo held; cat"]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with release.start(COMMANDS, "shop", "one", "c1", "", "", "sync") as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            assert notes(release) == []
            other.stdin.close()
            assert process.wait(timeout=30) == 0
    assert len(notes(release)) == 1
