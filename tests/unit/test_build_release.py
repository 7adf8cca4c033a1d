"""build_release.py on a server that is made up, with the real uv.

What it installs comes from an index on loopback. Who the processes run as is left out.
"""

import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from repository import PROJECT, source_module
from server import Server, executable

SOURCE = "roles/django_app/files/build_release.py"
BUILD = PROJECT / SOURCE
build_release = source_module(SOURCE)
UV = Path(sys.executable).parent / "uv"


def wheel(directory: Path, name: str, version: str, *requires: str, python: str = ">=3.8") -> Path:
    """Put a package with one module that knows its version into an index."""
    files = {
        f"{name}.py": f'VERSION = "{version}"\n',
        f"{name}-{version}.dist-info/METADATA": "".join(
            [
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n",
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
    """The directory of the index: alpha 1.0 and 2.0, and beta, which needs alpha before 2.

    Newer and newest are for later Pythons, older for one before 3.10; needy needs newer.
    """
    directory = tmp_path_factory.mktemp("simple")
    wheel(directory, "alpha", "1.0")
    wheel(directory, "alpha", "2.0")
    wheel(directory, "beta", "1.0", "alpha<2")
    wheel(directory, "newer", "1.0", python="==3.14.*")
    wheel(directory, "newest", "1.0", python=">=3.15")
    wheel(directory, "older", "1.0", python="<3.10")
    wheel(directory, "needy", "1.0", "newer")
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


def argument(release: str, *requirements: str, app: str = "shop", **given: str) -> str:
    """Return the program's argument."""
    values = {"python": "", "python_mirror_url": "", "requires_python": "", "package": ""} | given
    return json.dumps({"app": app, "release": release, "requirements": requirements} | values)


def build(server: Server, index: str, release: str, *requirements: str, **given: str) -> None:
    server.run(BUILD, argument(release, *requirements, **given), UV_DEFAULT_INDEX=index)


def refuses(server: Server, index: str, release: str, *requirements: str, **given: str) -> str:
    """Return what a build says that fails, on one line."""
    message = server.fails(BUILD, argument(release, *requirements, **given), UV_DEFAULT_INDEX=index)
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
        server.start(BUILD, argument("one", "requirements.txt", app=app), UV_DEFAULT_INDEX=index)
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
        with server.start(BUILD, argument("two", "requirements.txt"), UV_DEFAULT_INDEX=index) as process:
            if waits:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(timeout=3)
                assert server.calls == ["venv"]
            else:
                assert process.wait(timeout=60) == 0
            other.stdin.close()
            assert process.wait(timeout=60) == 0
    assert server.calls == ["venv"] * len({"uv", version})


# --- Which Python.

HAS = ".".join(map(str, sys.version_info[:3]))


def test_another_python_than_the_project_wants_is_refused_before_anything_is_built(
    server: Server, index: str, packages: Path
) -> None:
    server.put("one", {"requirements.txt": locked(packages)})
    message = refuses(server, index, "one", "requirements.txt", requires_python="==3.14.*")
    assert message.endswith(
        f"requires-python of the application is ==3.14.*, and the server's Python is {HAS} (Debian's). "
        'Fix: django_app_python: "3.14"'
    )
    assert server.names("srv/shop/environments") == set()
    build(server, index, "one", "requirements.txt", requires_python=">=3.11")


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["newer==1.0"], ["newer"]),
        (["needy"], ["newer"]),
        (["alpha==1.0", "newest", "newer"], ["newer", "newest"]),
    ],
)
@pytest.mark.parametrize("hashed", [False, True])
def test_packages_for_another_python_are_refused_by_their_names(
    server: Server, index: str, packages: Path, lines: list[str], names: list[str], hashed: bool
) -> None:
    if hashed:
        lines = [locked(packages, name=line.partition("=")[0]).strip() for line in lines]
        lines += [locked(packages, name="newer").strip()] if "needy" in lines[0] else []
    server.put("one", {"requirements.txt": "".join(f"{line}\n" for line in lines)})
    message = refuses(server, index, "one", "requirements.txt")
    # Without hashes uv ends with the first that it finds.
    found = [name for name in names if f"requires-python of {name}" in message]
    assert found == names if hashed else found
    assert f"the server's Python is {HAS} (Debian's). Fix: " in message
    assert "This failed" not in message
    assert "alpha" not in message
    assert not (server.root / "srv/shop/releases/one/.venv").exists()


def test_an_application_that_is_a_package_says_how_new_a_python_may_be(server: Server, index: str) -> None:
    server.put("one", {"requirements.txt": "older==1.0\n"})
    # A dependency that was released before this Python does not know that it works.
    build(server, index, "one", "requirements.txt")
    (server.root / "srv/shop/releases/one/.venv").resolve().joinpath(".complete").unlink()
    message = refuses(server, index, "one", "requirements.txt", package="older==1.0")
    assert "requires-python of older==1.0 is <3.10, and the server's Python is " in message


def test_what_is_added_for_another_python_is_refused(server: Server, index: str, packages: Path) -> None:
    server.put("one", {"requirements.txt": locked(packages), ".extra-requirements.txt": "newer\n"})
    assert "requires-python of newer==1.0 is ==3.14.*" in refuses(server, index, "one", "requirements.txt")


@pytest.fixture
def another_python(server: Server) -> Path:
    """A Python that uv could fetch, which calls itself 3.14.9; what uv is asked for it is noted."""
    root = server.root
    fetched = root / "opt/rootstock/python/cpython-3.14.9/bin/python3.14"
    uv = server.root / "uv"
    executable(
        uv,
        f"""if [ "$1" != python ]; then exec {UV} "$@"; fi
echo "uv $* $UV_PYTHON_DOWNLOADS" >>{server.root}/calls
case $2 in
    find) [ -x {fetched} ] && echo {fetched} ;;
    install) [ ! -e {root}/unreachable ] && mkdir -p {fetched.parent} && cp {root}/3.14 {fetched} ;;
esac""",
    )
    executable(
        server.root / "3.14",
        f"""case "$*" in
    *'sys.version_info[:3]'*) echo 3.14.9 ;;
    *) exec {sys.executable} "$@" ;;
esac""",
    )
    made = (server.root / "usr/bin/python3").read_text().replace(f"ln -s {UV} ", f"ln -s {uv} ")
    (server.root / "usr/bin/python3").write_text(made)
    executable(server.root / "bin/apt-cache", "exit 100")
    return fetched


@pytest.mark.usefixtures("another_python")
def test_a_python_that_debian_does_not_have_is_fetched_by_uv_once(
    server: Server, index: str, packages: Path
) -> None:
    for release in ("one", "two"):
        server.put(release, {"requirements.txt": locked(packages)})
    wanted = {"python": "3.14", "requires_python": "==3.14.*", "python_mirror_url": "https://mirror.example"}
    build(server, index, "one", "requirements.txt", **wanted)
    calls = server.calls
    assert calls[2] == "uv python install --no-bin --mirror https://mirror.example 3.14 automatic"
    assert [line.split()[2] for line in calls[1:]] == ["find", "install", "find"]
    assert {line.split()[-1] for line in (calls[1], calls[3])} == {"never"}
    build(server, index, "two", "requirements.txt", **wanted)
    assert [line.split()[2] for line in server.calls[4:]] == ["find", "find"]
    # Another Python is another environment.
    assert len(server.names("srv/shop/environments")) == 1
    build(server, index, "one", "requirements.txt")
    assert len(server.names("srv/shop/environments")) == 2
    message = refuses(server, index, "two", "requirements.txt", python="3.14", requires_python="<3.14")
    assert "the server's Python is 3.14.9 (uv's). Fix: django_app_python: \"3.11\"" in message


@pytest.mark.usefixtures("another_python")
def test_a_python_that_cannot_be_fetched_is_named(server: Server, index: str, packages: Path) -> None:
    server.put("one", {"requirements.txt": locked(packages)})
    (server.root / "unreachable").touch()
    message = refuses(server, index, "one", "requirements.txt", python="3.14")
    assert "python install --no-bin 3.14" in message
    assert "django_app_python is 3.14: Debian has none for this server" in message
    assert "django_app_python_mirror_url" in message


def test_a_python_of_debian_is_taken_and_installed_if_there_is_a_package(
    server: Server, index: str, packages: Path, another_python: Path
) -> None:
    server.put("one", {"requirements.txt": locked(packages)})
    executable(server.root / "bin/apt-cache", 'test "$*" = "show python3.14"')
    executable(
        server.root / "bin/apt-get",
        f'echo "apt-get $*" >>{server.root}/calls; cp {server.root}/3.14 {server.root}/usr/bin/python3.14',
    )
    for _ in range(2):
        build(server, index, "one", "requirements.txt", python="3.14")
    installs = [line for line in server.calls if line.startswith("apt-get")]
    assert len(installs) == 1
    assert installs[0].endswith(" python3.14")
    assert not another_python.exists()


VERSIONS = [f"3.{minor}.{patch}" for minor in range(8, 16) for patch in (0, 2, 10, 18)]


@pytest.mark.parametrize(
    "specifiers",
    [
        ">=3.12",
        ">=3.11.4",
        ">3.11",
        ">3.11.2",
        "==3.14.*",
        "==3.11.2",
        "==3.11",
        "===3.11.2",
        "~=3.12",
        "~=3.12.2",
        "!=3.12.*,!=3.13.0,>=3.8",
        ">=3.10, <4",
        "<3.14",
        "<=3.13",
        "<=3.13.2",
        ">=3.13.0rc1",
        ">=3.14.0a1,<3.15",
        "==3.*",
        " >= 3.9 , < 3.13 ",
        "",
    ],
)
def test_versions_are_judged_as_packaging_does(specifiers: str) -> None:
    judge = SpecifierSet(specifiers)
    assert [version for version in VERSIONS if build_release.allows(specifiers, version)] == [
        version for version in VERSIONS if judge.contains(version)
    ]


@pytest.mark.parametrize(
    ("specifiers", "version", "fix"),
    [
        ("==3.14.*", "3.11.2", 'django_app_python: "3.14"'),
        (">=3.12", "3.11.2", 'django_app_python: "3.12"'),
        # The server's own patch is too old, and django_app_python "3.11" would be the same one.
        (">=3.11.4", "3.11.2", 'django_app_python: "3.12"'),
        (">=3.11,<3.13", "3.13.5", 'django_app_python: "3.11"'),
        ("<3.10", "3.11.2", "a version of shop for Python 3.11 or newer"),
        (">=4", "3.11.2", "a version of shop for Python 3.11 or newer"),
        ("3.12", "3.11.2", 'write it as in requires-python = ">=3.12".'),
        ("^3.12", "3.11.2", 'write it as in requires-python = ">=3.12".'),
    ],
)
def test_what_to_do_about_another_python(specifiers: str, version: str, fix: str) -> None:
    message = build_release.refusal("shop", specifiers, version, "Debian's")
    assert message.startswith(f"requires-python of shop is {specifiers}")
    assert message.endswith(f"Fix: {fix}")


def test_a_python_that_will_do_is_not_refused() -> None:
    assert build_release.refusal("shop", ">=3.11,<3.12", "3.11.2", "Debian's") == ""
