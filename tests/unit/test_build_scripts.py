"""The shell scripts that make a release, on a server that is made up: build, finish, commands.

What they install comes from an index on loopback, by the real uv. Who the processes run as is left out.
"""

import hashlib
import http.server
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import application
from repository import PROJECT
from server import Server, executable

FILES = PROJECT / "roles/django_app/files"
BUILD, FINISH, COMMANDS = (FILES / name for name in ("build-release", "finish-release", "run-commands"))
UV = Path(sys.executable).parent / "uv"

# --- build-release


def wheel(directory: Path, name: str, version: str, *requires: str) -> Path:
    """Put a package with one module that knows its version into an index."""
    files = {
        f"{name}.py": f'VERSION = "{version}"\n',
        f"{name}-{version}.dist-info/METADATA": "".join(
            [
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
                *(f"Requires-Dist: {line}\n" for line in requires),
            ]
        ),
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{name}-{version}.dist-info/RECORD"] = "".join(f"{path},,\n" for path in files)
    path = directory / name / f"{name}-{version}-py3-none-any.whl"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Index(http.server.SimpleHTTPRequestHandler):
    """Lists the packages in a directory with their hashes."""

    def list_directory(self, path: str) -> None:  # type: ignore[override] # the body is written here
        """Answer as https://peps.python.org/pep-0503/ says."""
        links = [
            f"<a href='{file.name}#sha256={digest(file)}'>{file.name}</a>" for file in Path(path).iterdir()
        ]
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write("\n".join(links).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the index: alpha 1.0 and 2.0, and beta, which needs alpha before 2."""
    directory = tmp_path_factory.mktemp("simple")
    wheel(directory, "alpha", "1.0")
    wheel(directory, "alpha", "2.0")
    wheel(directory, "beta", "1.0", "alpha<2")
    return directory


@pytest.fixture(scope="module")
def index(packages: Path) -> Iterator[str]:
    """The index's address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, directory=packages)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server on which the environment of uv has to be made; the making of it is noted."""
    server = Server(tmp_path)
    (server.root / "opt/rootstock/uv.txt").write_text("uv\n")
    executable(
        server.root / "usr/bin/python3",
        f"""if [ "$1 $2" = '-m venv' ]; then
    echo "venv" >>{server.root}/calls
    mkdir -p "$3/bin"
    ln -s {UV} "$3/bin/uv"
    ln -s /bin/true "$3/bin/python"
else
    exec {sys.executable} "$@"
fi""",
    )
    return server


def locked(packages: Path, version: str = "1.0", name: str = "alpha") -> str:
    file = packages / name / f"{name}-{version}-py3-none-any.whl"
    return f"{name}=={version} --hash=sha256:{digest(file)}\n"


def build(server: Server, index: str, release: str, *requirements: str) -> None:
    server.run(BUILD, "shop", release, *requirements, UV_DEFAULT_INDEX=index)


def refuses(server: Server, index: str, release: str, *requirements: str) -> str:
    """Return what a build says that fails, on one line."""
    message = server.fails(BUILD, "shop", release, *requirements, UV_DEFAULT_INDEX=index)
    assert message.startswith("The release could not be built, and the one before it still serves.")
    return " ".join(message.split())


def installed(server: Server, release: str) -> set[str]:
    """Return what is installed for a release."""
    packages = (server.root / "srv/shop/releases" / release / ".venv").resolve()
    return {
        path.name.removesuffix(".dist-info").replace("-", "==")
        for path in packages.glob("lib/*/site-packages/*.dist-info")
    }


def test_locked_requirements_are_installed_once(server: Server, index: str, packages: Path) -> None:
    for release in ("one", "two"):
        server.put(release, {"requirements.txt": locked(packages), "shop.py": f"NAME = '{release}'\n"})
        build(server, index, release, "requirements.txt")
        assert installed(server, release) == {"alpha==1.0"}
    assert len(server.names("srv/shop/environments")) == 1
    assert server.calls == ["venv"]
    server.put("three", {"requirements.txt": locked(packages, "2.0")})
    build(server, index, "three", "requirements.txt")
    assert installed(server, "three") == {"alpha==2.0"}
    assert len(server.names("srv/shop/environments")) == 2


def test_nothing_is_installed_that_has_no_hash(server: Server, index: str, packages: Path) -> None:
    server.put("one", {"requirements.txt": locked(packages, name="beta")})
    build(server, index, "one", "requirements.txt")
    assert installed(server, "one") == {"beta==1.0"}


def test_another_hash_is_refused(server: Server, index: str, packages: Path) -> None:
    server.put("one", {"requirements.txt": locked(packages).replace("==1.0", "==2.0")})
    message = refuses(server, index, "one", "requirements.txt")
    assert "Hash mismatch" in message
    assert "lock the requirements anew" in message
    assert server.names("srv/shop/releases/one") == {"requirements.txt"}


def test_requirements_without_hashes_come_with_what_they_need(server: Server, index: str) -> None:
    files = {"requirements/all.txt": "-r base.txt\n", "requirements/base.txt": "beta\n"}
    server.put("one", files)
    build(server, index, "one", *files)
    assert installed(server, "one") == {"alpha==1.0", "beta==1.0"}
    # What a file includes is part of the environment's name.
    server.put("two", files | {"requirements/base.txt": "alpha\n"})
    build(server, index, "two", *files)
    assert installed(server, "two") == {"alpha==2.0"}


PYPROJECT = """
[project]
name = "shop"
version = "1"
requires-python = ">=3.11"
dependencies = ["beta"]
[dependency-groups]
dev = ["alpha"]
[build-system]
requires = ["nowhere-to-be-had"]
build-backend = "nowhere"
"""


def test_pyproject_says_what_to_install(server: Server, index: str) -> None:
    server.put("one", {"pyproject.toml": PYPROJECT})
    build(server, index, "one", "pyproject.toml")
    assert installed(server, "one") == {"alpha==1.0", "beta==1.0"}


def test_the_lock_of_uv_is_installed_without_the_project(server: Server, index: str, packages: Path) -> None:
    pyproject = PYPROJECT.replace('["beta"]', '["alpha<2"]').replace('dev = ["alpha"]', 'dev = ["beta"]')
    project = server.put("one", {"pyproject.toml": pyproject})
    lock: list[str | Path] = [UV, "lock", "--quiet", "--directory", project, "--default-index", index]
    subprocess.run(lock, check=True)
    # A newer one that fits: the lock does not know it.
    newer = wheel(packages, "alpha", "1.5")
    try:
        build(server, index, "one", "uv.lock", "pyproject.toml")
    finally:
        newer.unlink()
    assert installed(server, "one") == {"alpha==1.0"}
    assert server.names("srv/shop/releases/one") == {"pyproject.toml", "uv.lock", ".venv"}


def test_a_lock_that_is_none_is_refused(server: Server, index: str) -> None:
    server.put("one", {"pyproject.toml": PYPROJECT, "uv.lock": "version = 1\n<<<<<<< HEAD\n"})
    assert "Make it again: uv lock" in refuses(server, index, "one", "uv.lock", "pyproject.toml")


def test_what_is_added_changes_nothing_of_the_applications_own(
    server: Server, index: str, packages: Path
) -> None:
    release = {"requirements.txt": locked(packages)}
    server.put("one", release | {".extra-requirements.txt": "beta\nalpha\n"})
    build(server, index, "one", "requirements.txt")
    assert installed(server, "one") == {"alpha==1.0", "beta==1.0"}
    server.put("two", release)
    build(server, index, "two", "requirements.txt")
    assert installed(server, "two") == {"alpha==1.0"}
    server.put("three", release | {".extra-requirements.txt": "alpha==2.0\n"})
    message = refuses(server, index, "three", "requirements.txt")
    assert "alpha==1.0" in message
    assert "These are django_app_extra_requirements, and the application's own requirements win" in message


def test_an_interrupted_build_is_made_again(server: Server, index: str, packages: Path) -> None:
    server.put("one", {"requirements.txt": locked(packages)})
    build(server, index, "one", "requirements.txt")
    environment = (server.root / "srv/shop/releases/one/.venv").resolve()
    (environment / ".complete").unlink()
    shutil.rmtree(environment / "lib")
    build(server, index, "one", "requirements.txt")
    assert installed(server, "one") == {"alpha==1.0"}


def test_two_applications_make_one_uv(server: Server, index: str, packages: Path) -> None:
    server.put("one", {"requirements.txt": locked(packages)})
    shutil.copytree(server.root / "srv/shop", server.root / "srv/blog")
    builds = [
        server.start(BUILD, app, "one", "requirements.txt", UV_DEFAULT_INDEX=index)
        for app in ("shop", "blog")
    ]
    for process in builds:
        with process:
            assert process.communicate(timeout=120)[1] == ""
        assert process.returncode == 0
    assert server.calls == ["venv"]


@pytest.mark.parametrize(
    ("others", "version", "waits"),
    [("--shared", "uv", False), ("--exclusive", "uv", True), ("--shared", "a newer uv", True)],
)
def test_uv_is_used_together_and_replaced_alone(
    server: Server, index: str, packages: Path, others: str, version: str, waits: bool
) -> None:
    for release in ("one", "two"):
        server.put(release, {"requirements.txt": locked(packages)})
    build(server, index, "one", "requirements.txt")
    (server.root / "opt/rootstock/uv.txt").write_text(f"{version}\n")
    # Ends with its standard input.
    held = ["flock", others, str(server.root / "opt/rootstock"), "sh", "-c", "echo held; cat"]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with server.start(BUILD, "shop", "two", "requirements.txt", UV_DEFAULT_INDEX=index) as process:
            if waits:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(timeout=3)
                assert server.calls == ["venv"]
            else:
                assert process.wait(timeout=60) == 0
            other.stdin.close()
            assert process.wait(timeout=60) == 0
    assert server.calls == ["venv"] * len({"uv", version})


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
    assert release.run(COMMANDS, "shop", "one", "c1", *commands) == commands
    assert notes(release) == ["x|manage.py|load|two words|--all", "x|manage.py|sync"]
    assert set((release.root / "users").read_text().splitlines()) == {"as shop"}
    assert release.run(COMMANDS, "shop", "one", "c1", *commands) == []
    assert len(notes(release)) == 2


def test_another_configuration_or_command_runs_them_again(release: Server) -> None:
    release.run(COMMANDS, "shop", "one", "c1", "sync")
    assert release.run(COMMANDS, "shop", "one", "c2", "sync") == ["sync"]
    assert release.run(COMMANDS, "shop", "one", "c2", "sync", "load") == ["sync", "load"]


def test_a_failing_command_says_its_last_lines_and_runs_again(release: Server) -> None:
    message = release.fails(COMMANDS, "shop", "one", "c1", "sync", "fail now", "later")
    assert "one of django_app_commands failed, as user shop:\n  fail now\n" in message
    assert message.endswith("Its last lines:\nit failed\n" + "".join(f"{n}\n" for n in range(19)))
    assert len(notes(release)) == 1
    assert release.run(COMMANDS, "shop", "one", "c1", "sync", "later") == ["sync", "later"]


def test_commands_without_manage_py(release: Server) -> None:
    directory = release.root / "srv/shop/releases/one"
    (directory / "manage.py").unlink()
    release.put("one", {"django/__main__.py": NOTES, "django/__init__.py": ""})
    release.run(COMMANDS, "shop", "one", "c1", "sync")
    assert notes(release) == [f"x|{directory}/django/__main__.py|sync"]


def test_commands_wait_for_those_of_an_interrupted_run(release: Server) -> None:
    held = ["flock", str(release.root / "srv/shop/environments"), "sh", "-c", "echo held; cat"]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with release.start(COMMANDS, "shop", "one", "c1", "sync") as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            assert notes(release) == []
            other.stdin.close()
            assert process.wait(timeout=30) == 0
    assert len(notes(release)) == 1
