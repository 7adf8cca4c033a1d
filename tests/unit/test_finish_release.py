"""finish_release.py and run-commands on a server that is made up, with the sample application's real Django.

Who the processes run as is left out.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import application
from repository import PROJECT, source_module
from server import Server, executable

FILES = PROJECT / "roles/django_app/files"
FINISH, INSPECT, COMMANDS = FILES / "finish_release.py", FILES / "inspect_release.py", FILES / "run-commands"

# --- finish_release.py, with the sample application's real Django, Celery and Gunicorn

PROJECT_FILES = {
    "manage.py": "from django.core.management import execute_from_command_line as run\n"
    "import sys\nprint('by manage.py')\nrun(sys.argv)\n",
    "settings.py": """
import os
from pathlib import Path
BASE_DIR = Path(__file__).parent
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["shop.example.org"]
INSTALLED_APPS = ["django.contrib.staticfiles"]
ROOT_URLCONF = "urls"
STATIC_URL = "static/"
STATIC_ROOT = os.environ["STATIC_ROOT"]
STATICFILES_DIRS = [BASE_DIR / "assets"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql"}}
""",
    "assets/site.css": "body {}\n",
    "urls.py": """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("readyz", lambda request: HttpResponse()), path("", lambda request: HttpResponse())]
""",
    "web.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "tasks.py": "from celery import Celery\napp = Celery('shop')\n",
}
KEY = "kept-to-myself"
ENVIRONMENT = f"DJANGO_SETTINGS_MODULE=settings\nSECRET_KEY={KEY}\nPYTHONDONTWRITEBYTECODE=1\n"
OVERLAY = 'import os\nSTATIC_ROOT = os.environ["STATIC_ROOT"]\n'


@pytest.fixture
def host(tmp_path: Path) -> Server:
    """A server with an environment file, on which everything runs as one user."""
    server = Server(tmp_path)
    shutil.copy(PROJECT / "roles/supervisor/files/with-env", server.root / "usr/local/lib/rootstock/with-env")
    (server.root / "usr/local/lib/rootstock/with-env").chmod(0o755)
    (server.root / "etc/shop/app.c1.env").write_text(ENVIRONMENT)
    (server.root / "etc/shop/app.c2.env").write_text(ENVIRONMENT)
    # As the role's task puts one before the other.
    text = f"INSPECT = {json.dumps(INSPECT.read_text())}\n{FINISH.read_text()}"
    (server.root / "finish.py").write_text(text)
    # The disk of this machine may have other things to write.
    executable(server.root / "bin/sync", f'echo "sync $*" >>{server.root}/calls')
    # runuser -u shop -- COMMAND...
    executable(server.root / "bin/runuser", f'shift; echo "as $1" >>{server.root}/users; shift 2; exec "$@"')
    return server


def unpack(host: Server, files: dict[str, str], release: str = "one", without: tuple[str, ...] = ()) -> Path:
    """Put a release that is built, with an environment that lacks some modules; return its directory."""
    directory = host.put(release, files)
    real = application.python().parent.parent
    if not without:
        (directory / ".venv").symlink_to(real)
        return directory
    packages = next(real.glob("lib/python*/site-packages"))
    own = directory / ".venv" / packages.relative_to(real)
    own.mkdir(parents=True)
    (directory / ".venv/bin").mkdir()
    (directory / ".venv/bin/python").symlink_to(sys.executable and (real / "bin/python").readlink())
    shutil.copy(real / "pyvenv.cfg", directory / ".venv")
    for path in packages.iterdir():
        if path.name.partition("-")[0] not in without:
            (own / path.name).symlink_to(path)
    return directory


def given(
    host: Server, environment_file: str = "etc/shop/app.c1.env", media: str = "", **expected: Any
) -> str:
    """What the role tells the program."""
    release = host.root / "srv/shop/releases/one"
    return json.dumps(
        {
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "root": str(host.root / "srv/shop"),
            "release": str(release),
            "environment_file": str(host.root / environment_file),
            "environment": {"HOME": str(host.root / "srv/shop/shared"), "STATIC_ROOT": f"{release}/.static"},
            "secrets": ["SECRET_KEY"],
            "media_dir": media,
            "expected": {
                "settings_module": "settings",
                "interface": "wsgi",
                "callable": "web:application",
                "celery_application": "tasks",
                "flower": False,
                "domain": "shop.example.org",
                "readiness_path": "/readyz",
                "collectstatic": "auto",
                "names": {},
                "requirements": [],
                "waived": [],
                **expected,
            },
        }
    )


def problems(host: Server, **expected: Any) -> tuple[list[str], dict[str, Any]]:
    """Finish a release that cannot run; return what it lacks, and the block to paste."""
    message = host.fails(host.root / "finish.py", given(host, **expected))
    assert KEY not in message
    assert not (host.root / "srv/shop/releases/one/.complete").exists()
    report, _, block = message.partition("Add this to the inventory")
    found = [line[2:] for line in report.splitlines() if line.startswith("- ")]
    assert message.startswith(f"The release cannot run: {len(found)} problem")
    lines = [line for line in block.splitlines()[1:] if not line.startswith("URLs, Celery")]
    return found, yaml.safe_load("".join(f"{line}\n" for line in lines)) or {}


def with_settings(text: str, **more: str) -> dict[str, str]:
    """The project with more settings, and more files."""
    return PROJECT_FILES | {"settings.py": PROJECT_FILES["settings.py"] + text, **more}


def test_a_release_is_finished(host: Server) -> None:
    release = unpack(host, PROJECT_FILES)
    assert host.run(host.root / "finish.py", given(host)) == ["complete"]
    assert (release / ".complete").exists()
    assert (release / ".static/site.css").read_text() == "body {}\n"
    assert not (release / ".static").is_symlink()
    assert len(set((host.root / "users").read_text().splitlines())) == 1
    assert host.calls == [f"sync -f {release}"]
    # What is complete is loaded once more, with an environment that may be new, and its files are left alone.
    (release / ".static/site.css").unlink()
    assert host.run(host.root / "finish.py", given(host)) == []
    assert not (release / ".static/site.css").exists()
    (host.root / "etc/shop/app.c2.env").write_text(ENVIRONMENT.replace("SECRET_KEY=", "KEY="))
    message = host.fails(host.root / "finish.py", given(host, environment_file="etc/shop/app.c2.env"))
    assert "the environment has no SECRET_KEY" in message


def test_a_release_without_manage_py_is_finished(host: Server) -> None:
    release = unpack(host, {name: text for name, text in PROJECT_FILES.items() if name != "manage.py"})
    host.run(host.root / "finish.py", given(host))
    assert (release / ".static/site.css").exists()


def test_where_it_does_not_serve_its_urls_are_not_loaded(host: Server) -> None:
    release = unpack(host, PROJECT_FILES | {"urls.py": "import nowhere\n", "web.py": "import nowhere\n"})
    host.run(host.root / "finish.py", given(host, interface="", callable=""))
    assert (release / ".static/site.css").exists()
    assert (release / ".complete").exists()


def test_uploads_are_beside_the_releases(host: Server) -> None:
    release = unpack(host, PROJECT_FILES)
    host.run(host.root / "finish.py", given(host, media="files/uploads"))
    assert (release / "files/uploads").readlink() == host.root / "srv/shop/shared/media"


# --- static files


def test_static_files_where_the_settings_say(host: Server) -> None:
    text = 'STATIC_ROOT = BASE_DIR / "public/files"\n'
    # One file of the project's, and one that collectstatic left there long ago.
    release = unpack(
        host, with_settings(text, **{"public/files/own.css": "own", "public/files/site.css": "old"})
    )
    for path in (release / "assets/site.css", release / "public/files/site.css"):
        os.utime(path, (946684800, 946684800))
    host.run(host.root / "finish.py", given(host))
    assert (release / ".static").readlink() == Path("public/files")
    assert (release / ".static/site.css").read_text() == "body {}\n"
    assert (release / ".static/own.css").read_text() == "own"
    assert (release / ".static/own.css").stat().st_mtime > 946684800


def test_static_files_of_storages(host: Server) -> None:
    options = '"OPTIONS": {"location": BASE_DIR / "collected"}'
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    text = f'STATIC_ROOT = None\nSTORAGES = {{"staticfiles": {{"BACKEND": "{backend}", {options}}}}}\n'
    release = unpack(host, with_settings(text))
    host.run(host.root / "finish.py", given(host))
    assert (release / ".static/site.css").exists()
    assert (release / "collected/site.css").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("STATIC_ROOT = None\n", "STATIC_ROOT is not set: collectstatic needs a directory."),
        ('STATIC_ROOT = "/proc/nowhere"\n', "STATIC_ROOT is /proc/nowhere: static files belong to a release"),
        ("STATIC_ROOT = BASE_DIR\n", "static files belong to a release"),
        ('STATIC_ROOT = BASE_DIR / "assets"\n', "it is in STATICFILES_DIRS as well"),
        (
            'import django\nSTATIC_ROOT = Path(django.__file__).parent / "collected"\n',
            "it is in the virtual environment, which releases share",
        ),
    ],
)
def test_static_files_that_belong_to_no_release(host: Server, text: str, says: str) -> None:
    release = unpack(host, with_settings(text))
    found, paste = problems(host, interface="", callable="")
    assert len(found) == 1
    assert says in found[0]
    assert found[0].endswith('Fix: app_settings_overlay: STATIC_ROOT = os.environ["STATIC_ROOT"]')
    assert paste == {"app_settings_overlay": OVERLAY}
    # What the report says is all that is needed.
    with (release / "settings.py").open("a") as settings:
        settings.write(paste["app_settings_overlay"])
    host.run(host.root / "finish.py", given(host, interface="", callable=""))
    assert (release / ".static/site.css").exists()


def test_an_application_without_static_files_is_finished(host: Server) -> None:
    release = unpack(host, with_settings("INSTALLED_APPS = []\nSTATIC_ROOT = None\n"))
    host.run(host.root / "finish.py", given(host))
    assert (release / ".complete").exists()
    (release / ".complete").unlink()
    (found,), _ = problems(host, collectstatic=True)
    assert found.startswith("django_app_collectstatic is true: django.contrib.staticfiles is not in")


def test_static_files_that_the_project_brings(host: Server) -> None:
    text = 'STATIC_ROOT = BASE_DIR / "built"\n'
    release = unpack(host, with_settings(text, **{"built/app.js": "1"}))
    host.run(host.root / "finish.py", given(host, collectstatic=False))
    assert (release / ".static/app.js").exists()
    assert not (release / ".static/site.css").exists()


MANIFEST = """
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}}
"""


def test_static_files_with_a_manifest(host: Server) -> None:
    release = unpack(host, with_settings(MANIFEST))
    (found,), _ = problems(host, collectstatic=False)
    assert found.startswith(
        f"{release}/.static/staticfiles.json is missing: without this manifest of static files"
    )
    assert found.endswith("Fix: django_app_collectstatic: auto")
    host.run(host.root / "finish.py", given(host))
    assert (release / ".static/staticfiles.json").exists()


def test_a_collectstatic_that_fails_says_why(host: Server) -> None:
    broken = {"assets/site.css": "a { background: url(gone.png) }"}
    unpack(host, with_settings(MANIFEST, **broken))
    message = host.fails(host.root / "finish.py", given(host))
    assert (
        "- manage.py collectstatic --noinput failed. Fix: correct what its last lines say:\n    " in message
    )
    assert "The file 'gone.png' could not be found" in message
    # It is of the files, and of nothing else.
    assert "STATIC_ROOT" not in message
    assert "The release cannot run: 1 problem." in message


def test_offline_compression_without_its_manifest(host: Server) -> None:
    text = """
COMPRESS_ENABLED = COMPRESS_OFFLINE = True
COMPRESS_ROOT, COMPRESS_OUTPUT_DIR, COMPRESS_OFFLINE_MANIFEST = STATIC_ROOT, "CACHE", "manifest.json"
"""
    release = unpack(host, with_settings(text))
    (found,), _ = problems(host)
    assert found.startswith(f"{release}/.static/CACHE/manifest.json is missing: ")
    assert found.endswith("Fix: django_app_build_commands: [python manage.py compress]")
    # What a build command has made stays.
    (release / ".static/CACHE").mkdir()
    (release / ".static/CACHE/manifest.json").write_text("{}")
    host.run(host.root / "finish.py", given(host))
    assert (release / ".static/CACHE/manifest.json").exists()


def finish_release() -> Any:
    return source_module("roles/django_app/files/finish_release.py")


def test_static_files_are_taken_from_the_application(tmp_path: Path) -> None:
    place, secret = tmp_path / "static", tmp_path / "secret"
    (place / "css").mkdir(parents=True)
    for path, mode in ((secret, 0o600), (place / "css/site.css", 0o4666), (place / "tool", 0o700)):
        path.touch()
        path.chmod(mode)
    (place / "link").symlink_to(secret)
    (place / "directory").symlink_to(tmp_path)
    os.mkfifo(place / "pipe")
    finish_release().settle(place)
    modes = [path.stat().st_mode & 0o7777 for path in (place / "css", place / "css/site.css", place / "tool")]
    assert modes == [0o755, 0o644, 0o755]
    assert secret.stat().st_mode & 0o7777 == 0o600
    assert not (place / "pipe").exists()


@pytest.mark.parametrize(
    "place", ["elsewhere", "release", "release/link", "release/.venv/static", "release/../etc"]
)
def test_root_makes_no_other_directory_the_applications(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """The process of the application may say anything of where its static files are."""
    module, release, elsewhere = finish_release(), tmp_path / "release", tmp_path / "elsewhere"
    for directory in (release / ".venv/static", elsewhere, tmp_path / "etc"):
        directory.mkdir(parents=True)
    (elsewhere / "file").touch()
    (release / "link").symlink_to(elsewhere)
    (tmp_path / "env").touch()
    touched: list[Path] = []
    monkeypatch.setattr(module, "prepare", lambda found, user: touched.append(found))
    said = {"problems": [], "whole": True, "collect": True, "place": str(tmp_path / place), "manifests": {}}
    monkeypatch.setattr(module.Application, "run", lambda *_, **__: json.dumps(said))
    expected = {"interface": "", "requirements": []}
    application = module.Application(
        {
            "user": "shop",
            "root": str(tmp_path),
            "release": str(release),
            "environment_file": str(tmp_path / "env"),
            "environment": {},
            "secrets": [],
            "media_dir": "",
            "expected": expected,
        }
    )
    assert module.finish(application, "") == 1
    assert "must be below the release's directory" in capsys.readouterr().err
    assert touched == []
    assert not (release / ".static").is_symlink()


def test_what_an_interrupted_run_has_collected_is_collected_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, user = finish_release(), pwd.getpwuid(os.geteuid())
    (tmp_path / "css").mkdir()
    (tmp_path / "css/half.css").touch()
    module.prepare(tmp_path, user.pw_name)
    assert (tmp_path / "css/half.css").stat().st_mtime == 0
    # Whoever runs this is not the application now.
    monkeypatch.setattr(os, "geteuid", lambda: user.pw_uid + 1)
    module.prepare(tmp_path, user.pw_name)
    assert not (tmp_path / "css/half.css").exists()


# --- what the release lacks


def test_all_that_is_missing_comes_at_once(host: Server) -> None:
    text = """
DATABASES["default"]["ENGINE"] = "django.db.backends.sqlite3"
DEBUG = True
SECRET_KEY = "django-insecure-x"
STATIC_ROOT = None
ALLOWED_HOSTS = []
"""
    files = with_settings(text, **{"tasks.py": "app = 1 / 0\n", "web.py": "import shop.nowhere\n"})
    files["urls.py"] = files["urls.py"].replace('"readyz"', '"health/"')
    unpack(host, files, without=("gunicorn", "flower", "psycopg", "psycopg_binary"))
    found, paste = problems(host, flower=True, requirements=["a==1"], celery_application="tasks")
    starts = [
        "gunicorn is missing",
        "flower is missing",
        "DEBUG is True",
        "DATABASES has the engine django.db.backends.sqlite3",
        "SECRET_KEY is another value",
        "STATIC_ROOT is not set",
        "app_celery_application is tasks: it does not load: ZeroDivisionError: division by zero (tasks.py,",
        "ALLOWED_HOSTS is []",
        "django_app_readiness_path is /readyz: no URL pattern matches it",
        "app_wsgi_module is web:application: it does not load: ModuleNotFoundError: No module named 'shop'",
    ]
    assert [line for line, start in zip(found, starts, strict=True) if not line.startswith(start)] == []
    assert all(" Fix: " in line for line in found)
    assert paste["django_app_extra_requirements"] == ["a==1", "gunicorn==27.0.1", "flower==2.2.0"]
    assert paste["django_app_readiness_path"] == "/health/"
    # The overlay is Python that does what it says.
    environ = {"STATIC_ROOT": "/s", "SECRET_KEY": "k", "ALLOWED_HOSTS": "a,b"}
    environ["DATABASE_URL"] = "postgresql://shop:p%40ss@db:5433/shop?sslmode=require"
    names: dict[str, Any] = {}
    code = "import os; os.environ |= " + repr(environ) + "\n" + paste["app_settings_overlay"]
    exec(code, names)  # noqa: S102 - it is the program's own, 2026-11-30
    assert (names["DEBUG"], names["STATIC_ROOT"], names["SECRET_KEY"]) == (False, "/s", "k")
    assert names["ALLOWED_HOSTS"] == ["a", "b"]
    database = names["DATABASES"]["default"]
    assert (database["HOST"], database["PORT"], database["PASSWORD"]) == ("db", 5433, "p@ss")
    assert database["OPTIONS"] == {"sslmode": "require"}


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("debug", "DEBUG = True\n", {}),
        ("database", 'DATABASES["default"]["ENGINE"] = "django.db.backends.sqlite3"\n', {}),
        ("secret-key", 'SECRET_KEY = "django-insecure-x"\n', {}),
        ("allowed-hosts", 'ALLOWED_HOSTS = ["other.example.org"]\n', {}),
        ("readiness-path", "", {"readiness_path": "/nowhere"}),
    ],
)
def test_a_rule_that_is_waived(host: Server, rule: str, text: str, expected: dict[str, Any]) -> None:
    unpack(host, with_settings(text))
    (found,), _ = problems(host, **expected)
    assert found.endswith(f"(if it is meant: django_app_trial_waived: [{rule}])")
    assert host.run(host.root / "finish.py", given(host, waived=[rule], **expected)) == ["complete"]


def test_asgi_needs_two_more_programs(host: Server) -> None:
    unpack(host, PROJECT_FILES, without=("celery", "gunicorn"))
    found, paste = problems(host, interface="asgi")
    assert len(found) == 4
    assert sorted(paste["django_app_extra_requirements"]) == [
        "celery[redis]==5.6.3",
        "gunicorn==27.0.1",
        "uvicorn-worker==0.4.0",
        "uvicorn==0.54.0",
    ]


def test_drivers_are_needed_where_settings_name_them(host: Server) -> None:
    text = """
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache"}}
INSTALLED_APPS += ["rest_framework", "nobody"]
"""
    unpack(host, with_settings(text), without=("psycopg", "psycopg_binary", "redis"))
    found, paste = problems(host)
    assert [line.partition(" is missing")[0] for line in found] == [
        "redis, with which Celery reaches its broker,",
        "The module django_redis, which the settings name,",
        "The module nobody, which the settings name,",
        "The module rest_framework, which the settings name,",
        "psycopg, the driver for PostgreSQL,",
    ]
    assert paste == {
        "django_app_extra_requirements": [
            "celery[redis]==5.6.3",
            "django-redis",
            "djangorestframework",
            "psycopg[binary]==3.3.9",
        ]
    }
    assert "add the requirement that has the module 'nobody' to django_app_extra_requirements" in found[2]


# --- settings that do not load


def test_every_name_that_the_environment_lacks(host: Server) -> None:
    text = """
import environ
env = environ.Env()
SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]
DATABASES = {"default": env.db("DATABASE_URL")}
LIMIT = int(env("SHOP_LIMIT"))
TOKEN = env("SHOP_API_TOKEN")
HOST = os.environ["POSTGRES_HOST"]
DEBUG = env.bool("DJANGO_DEBUG", default=True)
"""
    with (host.root / "etc/shop/app.c1.env").open("a") as file:
        file.write("DATABASE_URL=sqlite:////nowhere\n")
    unpack(host, with_settings(text))
    found, paste = problems(host, names={"SECRET_KEY": "SHOP_KEY"})
    assert "settings.py, line 16): the environment has no DJANGO_SECRET_KEY. Fix:" in found[0]
    assert "ImproperlyConfigured: Set the SHOP_LIMIT environment variable (settings.py, line 18)" in found[1]
    assert len(found) == 6
    assert paste == {
        "app_environment_names": {"SECRET_KEY": ["SHOP_KEY", "DJANGO_SECRET_KEY"]},
        "app_environment": {"SHOP_LIMIT": "CHANGE_ME", "DJANGO_DEBUG": "0"},
        "app_secret_environment": {"SHOP_API_TOKEN": "CHANGE_ME"},
        "app_database_environment": {"host": "POSTGRES_HOST"},
    }


def test_names_that_an_application_asks_for_itself_come_together(host: Server) -> None:
    text = """
wanted = [name for name in ("SHOP_CRM", "SHOP_SECRET_TOKEN") if name not in os.environ]
if wanted:
    raise RuntimeError("set " + " and ".join(wanted))
"""
    unpack(host, with_settings(text))
    (found,), paste = problems(host)
    assert ": the environment has no SHOP_CRM, SHOP_SECRET_TOKEN. Fix: " in found
    assert paste == {
        "app_environment": {"SHOP_CRM": "CHANGE_ME"},
        "app_secret_environment": {"SHOP_SECRET_TOKEN": "CHANGE_ME"},
    }


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"settings.py": "import decouple\n"},
            "app_settings_module is settings: it does not load: ModuleNotFoundError: No module named"
            " 'decouple' (settings.py, line 1). Fix: django_app_extra_requirements: [python-decouple]",
        ),
        (
            {"settings.py": "import os\n\nX = int(os.environ['SECRET_KEY'])\n"},
            "ValueError: invalid literal for int() with base 10: '***' (settings.py, line 3). Fix: correct",
        ),
        (
            {"settings.py": "X = (\n"},
            "SyntaxError: '(' was never closed (settings.py, line 1). Fix: correct settings.py",
        ),
        (
            {"settings.py": "from pathlib import Path\nX = (Path(__file__).parent / 'shop.ini').open()\n"},
            "(settings.py, line 2). Fix: app_files: [{path: shop.ini, content: ...}]",
        ),
        (
            {"settings.py": "import sys\nsys.exit('no')\n"},
            "SystemExit: no (settings.py, line 2). Fix: correct",
        ),
    ],
)
def test_settings_that_do_not_load(host: Server, files: dict[str, str], says: str) -> None:
    unpack(host, PROJECT_FILES | files)
    (found,), _ = problems(host)
    assert says in found
    assert "write in" not in found


def test_settings_in_another_directory(host: Server) -> None:
    unpack(host, {f"src/{name}": text for name, text in PROJECT_FILES.items()})
    (found,), paste = problems(host)
    assert "No module named 'settings'" in found
    assert paste == {"app_environment": {"PYTHONPATH": "src"}}


def test_an_application_that_ends_its_own_process(host: Server) -> None:
    unpack(host, PROJECT_FILES | {"settings.py": "import os\nprint('it ends', flush=True)\nos._exit(3)\n"})
    message = host.fails(host.root / "finish.py", given(host))
    assert "The application ended its own process while it was loaded." in message
    assert message.splitlines()[2] == "    it ends"


def test_urls_that_do_not_load(host: Server) -> None:
    unpack(host, PROJECT_FILES | {"urls.py": "import nowhere\n"})
    (found,), _ = problems(host)
    assert (
        "manage.py check does not load: ModuleNotFoundError: No module named 'nowhere' (urls.py, line 1)"
        in found
    )


def test_each_system_check_by_itself(host: Server) -> None:
    unpack(host, with_settings('LANGUAGE_CODE = "xx"\n'))
    (found,), _ = problems(host)
    assert found.startswith(
        "manage.py check says translation.E004: You have provided a value for the LANGUAGE"
    )
    assert "Fix: correct it in the application, or the setting in app_settings_overlay" in found


def test_the_last_proof_is_gunicorns(host: Server) -> None:
    # As where something in the process that looks is not as in Gunicorn's.
    web = "import sys\nif 'gunicorn' in sys.modules:\n    raise OSError('not here')\n"
    unpack(host, PROJECT_FILES | {"web.py": web + PROJECT_FILES["web.py"]})
    message = host.fails(host.root / "finish.py", given(host))
    assert (
        "- gunicorn --check-config web:application failed. Fix: correct what its last lines say:" in message
    )
    assert "    OSError: not here" in message


@pytest.mark.parametrize(
    ("pattern", "wanted", "candidate"),
    [
        ('path("readyz/", view)', "/readyz", "/readyz/"),
        ('path("ht/", view), path("up", view)', "/readyz", "/ht/"),
        # A pattern that takes everything says nothing of a name.
        (r're_path(r"^([\w-]+/)$", view), path("", view)', "/readyz", "/"),
    ],
)
def test_a_readiness_path_that_is_there(host: Server, pattern: str, wanted: str, candidate: str) -> None:
    urls = f"from django.urls import path, re_path\nview = lambda request: None\nurlpatterns = [{pattern}]\n"
    unpack(host, PROJECT_FILES | {"urls.py": urls})
    (found,), paste = problems(host, readiness_path=wanted)
    assert paste == {"django_app_readiness_path": candidate}
    assert f"Fix: django_app_readiness_path: {candidate}" in found


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
    assert notes(release) == [f"{KEY}|manage.py|load|two words|--all", f"{KEY}|manage.py|sync"]
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
    assert notes(release) == [f"{KEY}|{directory}/django/__main__.py|sync"]


def test_commands_are_started_by_the_launcher(release: Server) -> None:
    directory = release.root / "srv/shop/releases/one"
    (directory / "launcher").write_text("import os, sys\nos.environ['SECRET_KEY'] += '+'\n")
    with (directory / "launcher").open("a") as more:
        more.write("assert os.environ['LIBRARY'] == '/l'\nos.execv(sys.argv[1], sys.argv[1:])\n")
    launcher = ".venv/bin/python launcher"
    command = "load 'two words'"
    assert release.run(COMMANDS, "shop", "one", "c1", "LIBRARY=/l", launcher, command) == [command]
    assert notes(release) == [f"{KEY}+|manage.py|load|two words"]


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
