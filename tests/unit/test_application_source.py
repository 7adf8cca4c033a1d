"""The lookup that tells what an application is from where its code is, on small projects as data."""

import io
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from rootstock_source import commands, describe, mapping, requirements
from rootstock_source.tree import Tree

from rendering import evaluate, trusted
from repository import PROJECT, source_module

MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n'
CELERY = (
    "from celery import Celery\napp = Celery('{}')\n"
    "app.config_from_object('django.conf:settings', namespace='CELERY')\n"
)
APPLICATIONS = 'INSTALLED_APPS = ["django.contrib.staticfiles"]\n'
WHOLE = "celery[redis]==5.6.3\ngunicorn==27.0.1\nflower==2.2.0\npsycopg[binary]==3.3.9\n"
Project = Callable[[Mapping[str, str]], describe.Description]


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Make a project of these files."""
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return what is told of a project with these files."""
    return lambda files: describe.describe(str(write(tmp_path / "shop", files)), "", tmp_path)


def with_settings(settings: str, **more: str) -> dict[str, str]:
    """Return a small project with these settings, and other files by their names with `__` for a slash."""
    files = {
        "manage.py": MANAGE.format("shop.settings"),
        "shop/wsgi.py": "",
        "shop/celery.py": CELERY.format("shop"),
        "shop/settings.py": APPLICATIONS + settings,
        "requirements.txt": WHOLE,
    }
    return files | {name.replace("__", "/"): text for name, text in more.items()}


def variables(found: describe.Description) -> dict[str, Any]:
    """Return the variables that are written beside the modules; not those in comments."""
    written: dict[str, Any] = {}
    for block in found.blocks:
        written |= yaml.safe_load(f"{block}\n") or {}
    return written


def commented(found: describe.Description) -> dict[str, Any]:
    """Return the variables that are written as comments."""
    written: dict[str, Any] = {}
    for block in found.blocks:
        lines = [line.removeprefix("# ") for line in block.splitlines()[1:] if line.startswith("# ")]
        written |= yaml.safe_load("\n".join(lines)) or {}
    return written


def test_the_sample_app() -> None:
    found = describe.describe(str(PROJECT / "sample_app"), "", PROJECT)
    assert (found.name, found.source, found.git) == ("sample-app", str(PROJECT / "sample_app"), False)
    assert (found.settings, found.wsgi, found.asgi, found.celery) == (
        "shop.settings",
        "shop.wsgi",
        "",
        "shop",
    )
    assert [pool["queues"] for pool in found.pools] == [["critical"], ["default"], ["low-priority"]]
    assert found.environment == {"PAYMENT_GATEWAY_URL": "CHANGE_ME", "CRM_URL": "CHANGE_ME"}
    assert (found.blocks, found.guessed, found.missing) == ([], [], [])


def test_an_application_with_names_of_its_own_as_its_inventory_has_them() -> None:
    inventory = PROJECT / "molecule/apps/inventory/group_vars/guestbook/main.yml"
    expected = yaml.safe_load(inventory.read_text())
    found = describe.describe(str(PROJECT / "tests/apps/guestbook"), "", PROJECT)
    assert found.source.endswith("tests/apps/guestbook/backend")
    names = ("app_environment_names", "django_app_readiness_path", "django_app_media_dir")
    assert {name: variables(found)[name] for name in names} == {name: expected[name] for name in names}
    assert found.celery == expected["app_celery_application"]


COOKIECUTTER = {
    "manage.py": MANAGE.format("config.settings.local"),
    "config/__init__.py": "from .celery_app import app as celery_app\n",
    "config/wsgi.py": MANAGE.format("config.settings.local"),
    "config/asgi.py": "",
    "config/celery_app.py": CELERY.format("blog"),
    "config/settings/__init__.py": "",
    "config/settings/base.py": (
        "from pathlib import Path\nimport environ\n"
        "BASE_DIR = Path(__file__).resolve(strict=True).parent.parent.parent\n"
        'APPS_DIR = BASE_DIR / "blog"\nenv = environ.Env()\n'
        'DEBUG = env.bool("DJANGO_DEBUG", False)\nDATABASES = {"default": env.db("DATABASE_URL")}\n'
        'DATABASES["default"]["ATOMIC_REQUESTS"] = True\n'
        'DJANGO_APPS = ["django.contrib.staticfiles"]\n'
        'INSTALLED_APPS = DJANGO_APPS + ["django_celery_beat"]\n'
        'STATIC_ROOT = str(BASE_DIR / "staticfiles")\nMEDIA_ROOT = str(APPS_DIR / "media")\n'
        'REDIS_URL = env("REDIS_URL", default="redis://redis:6379/0")\n'
        "CELERY_BROKER_URL = REDIS_URL\nCELERY_RESULT_BACKEND = REDIS_URL\n"
        'CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"\n'
        'ROOT_URLCONF = "config.urls"\n'
    ),
    "config/settings/production.py": (
        'from .base import *\nfrom .base import REDIS_URL, env\nSECRET_KEY = env("DJANGO_SECRET_KEY")\n'
        'ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["example.com"])\n'
        'DATABASES["default"]["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=60)\n'
        'CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL}}\n'
        'ADMIN_URL = env("DJANGO_ADMIN_URL")\nANYMAIL = {"MAILGUN_API_KEY": env("MAILGUN_API_KEY")}\n'
    ),
    "config/settings/local.py": 'from .base import *\nSECRET_KEY = env("DJANGO_SECRET_KEY", default="x")\n',
    "config/settings/test.py": "from .base import *\n",
    "config/urls.py": 'urlpatterns = [path("ht/", include("health_check.urls"))]\n',
    "requirements/base.txt": "celery[redis]==5.6.3\ndjango-redis==6.0.0\nflower==2.2.0\n",
    "requirements/local.txt": "-r base.txt\nwatchfiles\n",
    "requirements/production.txt": "-r base.txt\ngunicorn==27.0.1\npsycopg[c]==3.3.9\n",
    "compose/production/django/celery/worker/start": (
        "#!/bin/bash\nset -o errexit\nexec celery -A config.celery_app worker -l INFO -c 4\n"
    ),
    "compose/local/django/celery/worker/start": "exec watchfiles celery.main --args '-A no worker'\n",
    "compose/production/django/start": "python /app/manage.py collectstatic\n"
    "exec gunicorn config.wsgi --chdir=/app\n",
}


def test_the_layout_of_cookiecutter_django(project: Project) -> None:
    found = project(COOKIECUTTER)
    assert (found.settings, found.wsgi, found.asgi) == ("config.settings.production", "config.wsgi", "")
    assert found.celery == "config.celery_app"
    assert found.pools == [{"name": "celery", "queues": ["celery"], "concurrency": 4}]
    assert found.environment == {"DJANGO_ADMIN_URL": "CHANGE_ME"}
    assert variables(found) == {
        # One REDIS_URL: it is the cache's.
        "app_environment_names": {
            "SECRET_KEY": "DJANGO_SECRET_KEY",
            "ALLOWED_HOSTS": "DJANGO_ALLOWED_HOSTS",
            "CACHE_URL": "REDIS_URL",
        },
        "django_app_media_dir": "blog/media",
        "django_app_requirements_file": "requirements/production.txt",
        "django_app_readiness_path": "/ht/",
    }
    assert commented(found) == {"app_secret_environment": {"MAILGUN_API_KEY": "CHANGE_ME"}}
    said = "\n".join([*found.found, *found.guessed])
    assert "config/wsgi.py names config.settings.local" in said
    assert "DatabaseScheduler, by the application's own settings" in said
    assert "CONN_MAX_AGE" in said


@pytest.mark.parametrize(
    ("files", "settings"),
    [
        ({"a/settings/__init__.py": "", "a/settings/prod.py": APPLICATIONS}, "a.settings.prod"),
        (
            {"a/settings/base.py": APPLICATIONS, "a/settings/dev.py": "from a.settings.base import *"},
            "a.settings.base",
        ),
        (
            {"a/settings/__init__.py": "from .live import *\n", "a/settings/live.py": APPLICATIONS},
            "a.settings",
        ),
        (
            {"a/settings.py": APPLICATIONS, "a/settings_production.py": "from .settings import *"},
            "a.settings",
        ),
        ({"a/settings/local.py": APPLICATIONS}, "a.settings.local"),
    ],
)
def test_settings_for_production_come_before_base_and_both_before_others(
    files: dict[str, str], settings: str, project: Project
) -> None:
    named = (
        "a.settings"
        if any("__init__" in name or "a/settings.py" in name for name in files)
        else "a.settings.dev"
    )
    assert project({"manage.py": MANAGE.format(named)} | files).settings == settings


def test_an_application_without_wsgi(project: Project) -> None:
    files = {"chat/asgi.py": 'os.environ["DJANGO_SETTINGS_MODULE"] = "chat.settings"'}
    found = project(files | {"chat/settings.py": APPLICATIONS})
    assert (found.settings, found.wsgi, found.asgi) == ("chat.settings", "", "chat.asgi")


def test_channels_need_asgi(project: Project) -> None:
    found = project(
        with_settings('INSTALLED_APPS += ["channels"]\n', shop__asgi_py="") | {"shop/asgi.py": ""}
    )
    assert (found.wsgi, found.asgi) == ("", "shop.asgi")
    assert variables(found)["django_app_extra_requirements"] == ["uvicorn==0.54.0", "uvicorn-worker==0.4.0"]


def test_of_two_the_one_in_the_package_of_the_settings_is_meant(project: Project) -> None:
    files = {"manage.py": MANAGE.format("mine.settings"), "mine/wsgi.py": "", "other/wsgi.py": ""}
    assert project(files).wsgi == "mine.wsgi"


def test_of_two_others_none_is_meant_and_that_is_said(project: Project) -> None:
    found = project({"one/wsgi.py": "", "other/wsgi.py": ""})
    assert found.wsgi == ""
    assert "the WSGI or ASGI application: app_wsgi_module or app_asgi_module" in found.missing


def test_environments_and_tests_of_the_project_are_not_looked_at(project: Project) -> None:
    worker = 'app = Celery("x")\nTASK = {"queue": "wrong"}\n'
    files = {
        ".venv/lib/a/celery.py": worker,
        "venv/lib/site-packages/b/celery.py": worker,
        "tests/c.py": worker,
    }
    found = project(files)
    assert (found.celery, [pool["queues"] for pool in found.pools]) == ("", [["celery"]])


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ('app = Celery("shop")', "shop"),
        ('app: Celery = Celery("shop")', "shop"),
        ('queue = Celery("shop")', "shop.celery:queue"),
        ('app = make("shop")\napp.config_from_object("django.conf:settings")', "shop"),
    ],
)
def test_the_application_of_celery(text: str, target: str, project: Project) -> None:
    assert project({"shop/celery.py": text}).celery == target


@pytest.mark.parametrize(
    ("text", "queues"),
    [
        ('CELERY_TASK_DEFAULT_QUEUE = "work"', ["work"]),
        ('CELERY_DEFAULT_QUEUE = "work"', ["work"]),
        ("app.conf.task_default_queue = 'work'", ["work"]),
        ('app.conf.update({"task_default_queue": "work"})', ["work"]),
        ('ROUTES = {"a.*": {"queue": "slow"}}', ["celery", "slow"]),
        ('QUEUES = [Queue("a"), Queue(name="b")]', ["a", "b", "celery"]),
        ("@shared_task(queue='mail')", ["celery", "mail"]),
        ("task.apply_async(queue=name)", ["celery"]),
    ],
)
def test_queues(text: str, queues: list[str], project: Project) -> None:
    assert [pool["queues"] for pool in project({"settings.py": text}).pools] == [[queue] for queue in queues]


# What settings read, and the variables of the inventory that come of it.
READS = {
    "os.environ": (
        'import os\nSECRET_KEY = os.environ["KEY"]\nALLOWED_HOSTS = os.environ.get("HOSTS", "").split(",")\n'
        'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "HOST": os.environ["DB_HOST"],\n'
        '  "PORT": os.getenv("DB_PORT", "5432"), "NAME": os.environ["DB_NAME"],\n'
        '  "USER": os.environ["DB_USER"],\n'
        '  "PASSWORD": os.environ["DB_PASS"]}}\n',
        {
            "app_environment_names": {"SECRET_KEY": "KEY", "ALLOWED_HOSTS": "HOSTS"},
            "app_database_environment": {
                "host": "DB_HOST",
                "port": "DB_PORT",
                "name": "DB_NAME",
                "user": "DB_USER",
                "password": "DB_PASS",
            },
        },
        {},
    ),
    "django-environ": (
        "import environ\nenv = environ.Env(DEBUG=(bool, False), HOSTS=(list, []))\n"
        'SECRET_KEY = env("SECRET_KEY")\n'
        'DEBUG = env("DEBUG")\nALLOWED_HOSTS = env("HOSTS")\nDATABASES = {"default": env.db()}\n'
        'CACHES = {"default": env.cache_url("CACHE")}\nCELERY_BROKER_URL = env("BROKER")\n'
        'SHOP = env("SHOP")\n',
        {
            "app_environment_names": {
                "ALLOWED_HOSTS": "HOSTS",
                "CELERY_BROKER_URL": "BROKER",
                "CACHE_URL": "CACHE",
            }
        },
        {"SHOP": "CHANGE_ME"},
    ),
    "environs": (
        "from environs import Env\nenv = Env()\n"
        'with env.prefixed("SHOP_"):\n    MAIL = env.str("MAIL")\n    PAGE = env.int("PAGE", 20)\n'
        'SECRET_KEY = env.str("SECRET_KEY")\nALLOWED_HOSTS = env.list("ALLOWED_HOSTS")\n'
        'DATABASES = {"default": env.dj_db_url("DB_URL")}\n',
        {"app_environment_names": {"DATABASE_URL": "DB_URL"}},
        {"SHOP_MAIL": "CHANGE_ME"},
    ),
    "decouple": (
        "from decouple import config, Csv\nimport dj_database_url\n"
        'SECRET_KEY = config("APP_KEY")\nDEBUG = config("APP_DEBUG", default=True, cast=bool)\n'
        'ALLOWED_HOSTS = config("APP_HOSTS", cast=Csv())\n'
        'DATABASES = {"default": dj_database_url.parse(config("APP_DB"), conn_max_age=600)}\n'
        'SIZE = config("SIZE", 3)\nBUCKET = config("BUCKET")\n',
        {
            "app_environment_names": {
                "SECRET_KEY": "APP_KEY",
                "ALLOWED_HOSTS": "APP_HOSTS",
                "DATABASE_URL": "APP_DB",
            }
        },
        {"APP_DEBUG": "0", "BUCKET": "CHANGE_ME"},
    ),
    "a function of the project": (
        "import os\nfrom django.core.exceptions import ImproperlyConfigured\n"
        "def need(name):\n    try:\n        return os.environ[name]\n    except KeyError:\n"
        "        raise ImproperlyConfigured(name)\n"
        "def may(name, default=None):\n    return os.environ.get(name, default)\n"
        'SECRET_KEY = need("KEY")\nALLOWED_HOSTS = ["*"]\nWHERE = need("WHERE")\nHOW = may("HOW")\n'
        'import dj_database_url\nDATABASES = {"default": dj_database_url.config()}\n',
        {"app_environment_names": {"SECRET_KEY": "KEY"}},
        {"WHERE": "CHANGE_ME"},
    ),
    "blanks between hosts, and an engine": (
        'import os\nSECRET_KEY = os.environ.get("SECRET_KEY")\n'
        'ALLOWED_HOSTS = os.environ.get("HOSTS").split(" ")\n'
        'DATABASES = {"default": {"ENGINE": os.environ.get("SQL_ENGINE", "django.db.backends.sqlite3"),\n'
        '  "NAME": os.environ.get("SQL_DATABASE", "x"), "USER": os.environ.get("SQL_USER", "user"),\n'
        '  "PASSWORD": os.environ.get("SQL_PASSWORD", "p"), "HOST": os.environ.get("SQL_HOST", "h")}}\n',
        {
            "app_database_environment": {
                "name": "SQL_DATABASE",
                "user": "SQL_USER",
                "password": "SQL_PASSWORD",
                "host": "SQL_HOST",
            }
        },
        {
            "HOSTS": "{{ ([app_domain] + app_extra_domains | default([])) | join(' ') }}",
            "SQL_ENGINE": "django.db.backends.postgresql",
        },
    ),
    "directories, and what is read under a condition": (
        'import os\nSECRET_KEY = os.environ["SECRET_KEY"]\n'
        'ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")\n'
        'import dj_database_url\nDATABASES = {"default": dj_database_url.config()}\n'
        'STATIC_ROOT = os.environ["SHOP_STATIC"]\n'
        'MEDIA_ROOT = os.path.join("/srv", os.environ["SHOP_MEDIA"])\n'
        'if os.environ.get("S3"):\n    BUCKET = os.environ["S3_BUCKET"]\n',
        {"app_environment_names": {"STATIC_ROOT": "SHOP_STATIC", "MEDIA_ROOT": "SHOP_MEDIA"}},
        {},
    ),
}


@pytest.mark.parametrize("name", READS)
def test_names_that_settings_read(name: str, project: Project) -> None:
    settings, written, environment = READS[name]
    root = "" if "STATIC_ROOT" in settings else 'STATIC_ROOT = os.environ["STATIC_ROOT"]\n'
    found = project(with_settings("import os\n" + settings + root))
    assert {
        key: value for key, value in variables(found).items() if not key.startswith("django_app")
    } == written
    assert found.environment == environment


def test_parts_of_the_database_that_only_an_else_reads(project: Project) -> None:
    found = project(
        with_settings(
            'from environs import env\nif env("DATABASE_URL", None):\n'
            '    DATABASES = {"default": env.dj_db_url("DATABASE_URL")}\n'
            "else:\n"
            '    DATABASES = {"default": {"NAME": env.str("POSTGRES_DB"), "HOST": env("POSTGRES_HOST")}}\n'
        )
    )
    assert "app_database_environment" not in variables(found)


def test_a_replica_is_not_the_database(project: Project) -> None:
    found = project(
        with_settings(
            'import dj_database_url\nMAIN = "default"\nDATABASES = {MAIN: dj_database_url.config("DB")}\n'
            'DATABASES["replica"] = dj_database_url.config("DB_REPLICA")\n'
        )
    )
    assert variables(found)["app_environment_names"] == {"DATABASE_URL": "DB"}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('env.bool("D", True)', "0"),
        ('env.bool("D", False)', None),
        ('os.environ.get("D", "1") == "1"', "0"),
        ('os.environ.get("D") == "1"', None),
        ('os.environ.get("D", "dev") != "production"', "production"),
        ('not os.environ.get("D", "")', "1"),
        ('os.environ.get("D", "production") != "production"', None),
        ('bool(int(os.environ.get("D", "1")))', "0"),
        ('bool(os.environ.get("D", "x"))', ""),
    ],
)
def test_debug_is_switched_off(expression: str, value: str | None, project: Project) -> None:
    found = project(with_settings(f"import os\nfrom environs import env\nDEBUG = {expression}\n"))
    assert found.environment.get("D") == value


HARD_CODED = (
    "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\n"
    'SECRET_KEY = "django-insecure-x"\n'
    'DEBUG = True\nALLOWED_HOSTS = []\nDATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3",\n'
    '  "NAME": BASE_DIR / "db.sqlite3"}}\n'
    'CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache",\n'
    '  "LOCATION": "redis://localhost:6379/1"}}\n'
)


def test_what_stands_in_the_code_is_replaced_after_the_settings(project: Project) -> None:
    found = project(with_settings(HARD_CODED))
    written = variables(found)
    assert written["app_database_environment"] == {
        part: f"DATABASE_{part.upper()}" for part in ("host", "port", "name", "user", "password")
    }
    environment = {f"DATABASE_{part}": part for part in ("HOST", "PORT", "NAME", "USER", "PASSWORD")}
    environment |= {
        "SECRET_KEY": "s",
        "ALLOWED_HOSTS": "a,b",
        "STATIC_ROOT": "/r",
        "CACHE_URL": "redis://cache",
    }
    settings: dict[str, Any] = {"DATABASES": {"default": {}}, "CACHES": {"default": {"LOCATION": "x"}}}
    overlay = written["app_settings_overlay"].replace("import os", "")
    exec(overlay, settings | {"os": type("os", (), {"environ": environment})}, settings)  # noqa: S102 - its own text, 2026-11-30
    assert (settings["SECRET_KEY"], settings["DEBUG"], settings["ALLOWED_HOSTS"]) == ("s", False, ["a", "b"])
    assert settings["DATABASES"]["default"] == {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "HOST",
        "PORT": "PORT",
        "NAME": "NAME",
        "USER": "USER",
        "PASSWORD": "PASSWORD",
    }
    assert settings["CACHES"]["default"]["LOCATION"] == "redis://cache"
    assert settings["STATIC_ROOT"] == "/r"
    # Secrets stay where they are.
    assert "django-insecure" not in str(found)


def test_directories_of_the_project(project: Project) -> None:
    found = project(
        with_settings(
            "import os\nBASE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\n"
            'STATIC_ROOT = os.path.join(BASE, "public", "static")\nMEDIA_ROOT = os.path.join(BASE, "media")\n'
        )
    )
    assert "STATIC_ROOT is public/static, in the project" in found.found
    assert variables(found)["django_app_media_dir"] == "media"


def test_a_procfile(project: Project) -> None:
    found = project(
        with_settings(
            "",
            Procfile=(
                "release: python manage.py migrate && python manage.py loaddata countries\n"
                "web: newrelic-admin run-program gunicorn shop.web:app --log-file -\n"
                "worker: celery --app=shop worker -Q mail,default -c 3 --loglevel info\n"
                "slow: REMAP_SIGTERM=SIGQUIT celery -A shop worker --queues=slow --concurrency $N\n"
                "beat: celery -A shop beat -S django_celery_beat.schedulers:DatabaseScheduler\n"
                "listener: python manage.py listen --all\n"
            ),
        )
        | {"shop/web.py": "", "shop/tasks.py": '@shared_task(queue="extra")\n'}
    )
    assert (found.wsgi, found.celery) == ("shop.web:app", "shop")
    assert found.pools == [
        {"name": "mail", "queues": ["mail", "default"], "concurrency": 3},
        {"name": "slow", "queues": ["slow"], "concurrency": 2},
        {"name": "celery", "queues": ["celery"], "concurrency": 2},
        {"name": "extra", "queues": ["extra"], "concurrency": 2},
    ]
    assert variables(found)["celery_settings"] == {
        "beat_scheduler": "django_celery_beat.schedulers:DatabaseScheduler"
    }
    assert commented(found) == {
        "app_extra_programs": [{"name": "listener", "command": "python manage.py listen --all"}],
        "django_app_commands": ["loaddata countries"],
    }


def test_compose_and_dockerfile(project: Project) -> None:
    found = project(
        with_settings("")
        | {
            "shop/asgi.py": "",
            "docker-compose.yml": (
                "services:\n"
                "  web: {build: ., command: python manage.py runserver}\n"
                "  redis: {image: redis, command: redis-server --save 60 1}\n"
                "  worker: {build: ., command: [celery, -A, shop, worker, -Q, dev]}\n"
            ),
            "docker-compose.prod.yml": (
                "services:\n"
                "  web: {build: ., command: 'sh -c \"uvicorn shop.asgi:application --workers 2\"'}\n"
                "  worker: {build: ., command: celery -A shop worker -Q high --concurrency 8}\n"
                "  bot: {build: ., command: python -m shop.bot}\n"
            ),
            "Dockerfile": (
                "FROM python:3.13\nRUN npm ci && npm run build \\\n && python manage.py compilemessages\n"
                'CMD ["gunicorn", "shop.wsgi"]\n'
            ),
        }
    )
    assert (found.wsgi, found.asgi) == ("", "shop.asgi")
    assert found.pools[0] == {"name": "high", "queues": ["high"], "concurrency": 8}
    assert commented(found) == {
        "app_extra_programs": [{"name": "bot", "command": "python -m shop.bot"}],
        "django_app_build_commands": ["npm ci", "npm run build", "python manage.py compilemessages"],
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a b && c; d", [["a", "b"], ["c"], ["d"]]),
        ("sh -c 'a \"b c\"'", [["a", "b c"]]),
        ("a 'b", [["a", "'b"]]),
        ("# comment", []),
    ],
)
def test_words_of_a_line(line: str, words: list[list[str]]) -> None:
    assert list(commands.split(line)) == words


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        (">=3.11", ""),
        (">=3.10,<4", ""),
        ("==3.14.*", "3.14"),
        (">=3.12", "3.13"),
        (">=3.12,<3.13", "3.12"),
        ("~=3.11.0", "3.11"),
    ],
)
def test_the_python_that_a_project_demands(spec: str, version: str, project: Project) -> None:
    files = {"pyproject.toml": f'[project]\nname = "x"\nrequires-python = "{spec}"\ndependencies = []\n'}
    assert variables(project(files)).get("django_app_python", "") == version


def test_a_python_that_nobody_has(project: Project) -> None:
    found = project({"pyproject.toml": '[project]\nrequires-python = "<3"\n'})
    assert "django_app_python" not in variables(found)
    assert [line for line in found.missing if line.startswith("a Python: requires-python is <3")]


def test_poetry(project: Project, tmp_path: Path) -> None:
    found = project(
        with_settings("")
        | {
            "requirements.txt": "",
            "pyproject.toml": (
                '[tool.poetry]\nname = "shop"\n[tool.poetry.dependencies]\npython = "^3.12"\nDjango = "^5"\n'
                'celery = {version = "^5", extras = ["redis"]}\ngunicorn = "*"\n'
            ),
            "poetry.lock": "",
        }
    )
    assert variables(found)["django_app_python"] == "3.13"
    (tmp_path / "shop/requirements.txt").unlink()
    found = describe.describe(str(tmp_path / "shop"), "", tmp_path)
    assert [line for line in found.missing if "poetry export -o requirements.txt" in line]
    assert variables(found)["django_app_extra_requirements"] == [
        "celery[redis]",
        "flower==2.2.0",
        "psycopg[binary]==3.3.9",
    ]


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        ({"requirements.txt": "celery"}, ""),
        ({"requirements.txt": "django", "requirements/prod.txt": "celery"}, "requirements/prod.txt"),
        ({"requirements/base.txt": "", "requirements/local.txt": ""}, "requirements/base.txt"),
        (
            {"requirements-production.txt": "celery", "requirements-dev.txt": ""},
            "requirements-production.txt",
        ),
        ({"pyproject.toml": '[project]\ndependencies = ["celery"]\n', "requirements/base.txt": "celery"}, ""),
    ],
)
def test_the_file_with_requirements(files: dict[str, str], chosen: str, project: Project) -> None:
    assert variables(project(files)).get("django_app_requirements_file", "") == chosen


def test_requirements_of_a_lock_are_those_of_the_project_without_its_groups() -> None:
    lock = (
        'requires-python = ">=3.11"\n[[package]]\nname = "shop"\nsource = {virtual = "."}\n'
        'dependencies = [{name = "celery", extra = ["redis"]}]\n'
        '[package.dev-dependencies]\ndev = [{name = "flower"}]\n'
        '[[package]]\nname = "celery"\nversion = "5.6.3"\ndependencies = [{name = "kombu"}]\n'
        '[package.optional-dependencies]\nredis = [{name = "redis"}]\n'
        '[[package]]\nname = "kombu"\nversion = "5.6.2"\n[[package]]\nname = "redis"\nversion = "6.0"\n'
        '[[package]]\nname = "flower"\nversion = "2.0.1"\n'
    )
    found = requirements.read(Tree({"uv.lock": lock, "pyproject.toml": "[project]\n"}))
    assert set(found.packages) == {"celery", "kombu", "redis"}
    assert requirements.missing(found, asgi=False) == [
        "gunicorn==27.0.1",
        "flower==2.2.0",
        "psycopg[binary]==3.3.9",
    ]


def test_an_old_django_gets_the_driver_that_it_knows(project: Project) -> None:
    found = project(with_settings("", requirements_txt="") | {"requirements.txt": "Django==3.2.25\ncelery\n"})
    assert "psycopg2-binary" in variables(found)["django_app_extra_requirements"]


def test_a_file_that_cannot_be_parsed_is_named(project: Project) -> None:
    found = project(
        {"shop/settings.py": "INSTALLED_APPS = [\n", "compose.yml": "a: [\n", "pyproject.toml": "x"}
    )
    said = [line for line in found.missing if line.endswith("says: it cannot be parsed")]
    assert {line.split()[1] for line in said} == {"shop/settings.py", "compose.yml", "pyproject.toml"}


def test_nothing_of_the_project_is_run(project: Project, tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'run')!r}, 'w').close()\n"
    found = project({"shop/settings.py": trap + APPLICATIONS, "setup.py": trap, "conftest.py": trap})
    assert found.settings == "shop.settings"
    assert not (tmp_path / "run").exists()


def test_imports_that_go_in_a_circle_come_to_an_end(project: Project) -> None:
    files = {
        "a/settings.py": "from .b import *\nfrom .c import X\n" + APPLICATIONS,
        "a/b.py": "from .settings import *\nfrom .c import X as Y\nZ = Z\n",
        "a/c.py": "from .settings import Z\nfrom .b import Y\nX = Y\n",
    }
    assert project(files).settings == "a.settings"


@pytest.mark.parametrize(
    ("files", "directory", "base"),
    [
        ({"manage.py": ""}, "", None),
        ({"backend/manage.py": "", "backend/requirements.txt": "", "frontend/a.py": ""}, "backend", None),
        ({"src/manage.py": "", "requirements.txt": ""}, "", "src"),
        ({"src/manage.py": ""}, "src", None),
        ({"manage.py": MANAGE.format("shop.settings"), "src/shop/settings.py": ""}, "", "src"),
    ],
)
def test_where_the_project_is(
    files: dict[str, str], directory: str, base: str | None, project: Project
) -> None:
    found = project(files)
    assert found.source.rstrip("/").endswith(f"shop/{directory}".rstrip("/"))
    assert found.environment.get("PYTHONPATH") == base


def git(directory: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.net", "-c", "init.defaultBranch=trunk")
    subprocess.run(["git", "-C", directory, *identity, *arguments], check=True, capture_output=True)


def test_a_repository_is_looked_into(tmp_path: Path) -> None:
    files = {f"backend/{name}": text for name, text in with_settings("").items()}
    repository = write(tmp_path / "code", files)
    git(repository, "init")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "one")
    found = describe.describe(f"file://{repository}", "", tmp_path)
    assert (found.git, found.ref, found.directory) == (True, "trunk", "backend")
    assert (found.name, found.settings, found.celery) == ("code", "shop.settings", "shop")
    head = subprocess.run(
        ["git", "-C", repository, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert describe.describe(f"file://{repository}", "", tmp_path, ref=head).settings == "shop.settings"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://git.example.net/team/My_Blog.git", "my-blog"),
        ("git@git.example.net:blog.git", "blog"),
        ("file:///srv/git/blog/", "blog"),
        ("https://git.example.net/2048.git", ""),
    ],
)
def test_a_repository_that_cannot_be_reached(source: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "none")
    found = describe.describe(source, "config.settings.production", PROJECT)
    assert (found.name, found.git, found.source, found.ref) == (name, True, source, "")
    assert (found.settings, found.wsgi, found.celery) == (
        "config.settings.production",
        "config.wsgi",
        "config",
    )
    assert found.missing[0].startswith("the code, so nothing was read in it: Git says: ")
    assert "app_celery_application, after the name of the settings" in found.guessed


def wheel(directory: Path, files: Mapping[str, str]) -> None:
    """Put a wheel of shop 1.2 where pip finds it."""
    metadata = "Metadata-Version: 2.1\nName: shop\nVersion: 1.2\n"
    metadata += "Requires-Python: >=3.12\nRequires-Dist: celery[redis]>=5\n"
    metadata += "Requires-Dist: flower; extra == 'x'\nRequires-Dist: psycopg; extra == 'web'\n\nText\n"
    content = io.BytesIO()
    everything = {**files, "shop-1.2.dist-info/METADATA": metadata}
    everything["shop-1.2.dist-info/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    everything["shop-1.2.dist-info/RECORD"] = ""
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in everything.items():
            archive.writestr(name, text)
    (directory / "shop-1.2-py3-none-any.whl").write_bytes(content.getvalue())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all that pip finds packages in."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def test_a_package_is_looked_into(index: Path) -> None:
    wheel(
        index,
        {
            "shop/settings/production.py": "from .base import *\n",
            "shop/settings/base.py": (
                'import os\nSECRET_KEY = os.environ["KEY"]\nBASE = os.path.dirname(__file__)\n'
                'STATIC_ROOT = os.path.join(BASE, "static")\nALLOWED_HOSTS = ["*"]\n'
                'import dj_database_url\nDATABASES = {"default": dj_database_url.config()}\n' + APPLICATIONS
            ),
            "shop/wsgi.py": MANAGE.format("shop.settings.base"),
            "shop/work.py": CELERY.format("shop"),
        },
    )
    found = describe.describe("shop[web]==1.2", "", PROJECT)
    assert (found.name, found.settings, found.wsgi, found.celery) == (
        "shop",
        "shop.settings.production",
        "shop.wsgi",
        "shop.work",
    )
    assert variables(found) == {
        "app_environment_names": {"SECRET_KEY": "KEY"},
        # Nobody may write beside the code of a package.
        "app_settings_overlay": 'import os\n\nSTATIC_ROOT = os.environ["STATIC_ROOT"]\n',
        "django_app_python": "3.13",
        "django_app_extra_requirements": ["gunicorn==27.0.1", "flower==2.2.0"],
    }


def test_of_a_package_that_cannot_be_looked_into_no_celery_is_guessed(index: Path) -> None:
    found = describe.describe("shop==1.2", "", PROJECT)
    package = "{{ app_settings_module.split('.')[0] }}"
    assert (found.name, found.settings, found.wsgi, found.celery) == ("shop", "", f"{package}.wsgi", "")
    assert found.missing[0].startswith("the code, so nothing was read in it: pip says: ")
    assert describe.describe("shop==1.2", "my.settings", PROJECT).wsgi == "my.wsgi"


def test_without_a_source_nothing_is_looked_for() -> None:
    found = describe.describe("", "", PROJECT)
    assert (found.name, found.source, found.missing) == ("", "", [])
    assert found.celery == "{{ app_settings_module.split('.')[0] }}"


def test_a_relative_path_leads_from_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code/shop").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "code")
    found = describe.describe("shop", "", tmp_path / "inventories/production")
    assert found.source == "{{ inventory_dir }}/../../code/shop"


def test_a_path_never_keeps_the_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert describe.describe("~/shop", "", PROJECT).source == str(tmp_path / "shop")


def test_a_path_that_is_no_directory_is_refused_with_the_way_to_fix_it() -> None:
    call = "{{ lookup('application_source', source, relative_to='.') }}"
    with pytest.raises(AnsibleError, match=r"No such file .*/none of this\. Give a directory"):
        evaluate(call, trusted({"source": "none of this"}))


def test_the_generator_and_the_trial_of_a_deploy_say_the_same() -> None:
    """They run on different machines and share no file: versions, and what a name most likely stands for."""
    trial = source_module("roles/django_app/files/inspect_release.py")
    bare = requirements.missing(requirements.Requirements(), asgi=True)
    assert set(bare) == {trial.CELERY, trial.GUNICORN, trial.FLOWER, trial.PSYCOPG, *trial.UVICORN.values()}
    guesses = {
        name: next((standard for standard, usual in mapping.USUAL.items() if usual.fullmatch(name)), "")
        for name in trial.ALIASES
    }
    assert {name: guess for name, guess in guesses.items() if guess not in ("", trial.ALIASES[name])} == {}
