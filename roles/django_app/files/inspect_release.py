"""Find all that a built release lacks, before anything of it is started.

Runs as the application's user, in the application's environment, virtual environment and release directory.
The argument is a JSON object (see Expected), and the answer on stdout is another (see Report). What the
application itself prints goes to stderr.
"""

# mypy: disable-error-code="import-not-found, import-untyped"
# Django and Celery have no types, and are the application's.

import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict


class Expected(TypedDict):
    """What the inventory says: what runs on this host, and which rules are not applied."""

    settings_module: str
    #: wsgi or asgi, and its module:name; both are empty where this host does not serve.
    interface: str
    callable: str
    celery_application: str
    flower: bool
    domain: str
    readiness_path: str
    collectstatic: str | bool
    #: app_environment_names, and django_app_extra_requirements.
    names: dict[str, str | list[str]]
    requirements: list[str]
    waived: list[str]


@dataclass(frozen=True)
class Problem:
    """One thing that the release lacks, with the variables that provide it (for the block to paste)."""

    text: str
    paste: dict[str, Any] = field(default_factory=dict)


@dataclass
class Report:
    """What was found, and what the caller has to do about static files."""

    problems: list[Problem] = field(default_factory=list)
    #: Whether all was looked at; it ends where settings or Django do not load.
    whole: bool = False
    collect: bool = False
    #: The directory of static files; empty if it is not a local one.
    place: str = ""
    #: Files without which pages that name static files answer 500, with what makes each.
    manifests: dict[str, str] = field(default_factory=dict)


#: Versions that are known to work together.
CELERY = "celery[redis]==5.6.3"
GUNICORN = "gunicorn==27.0.1"
FLOWER = "flower==2.2.0"
UVICORN = {"uvicorn": "uvicorn==0.54.0", "uvicorn_worker": "uvicorn-worker==0.4.0"}
PSYCOPG = "psycopg[binary]==3.3.9"
#: The distributions of modules. No other is guessed from a module's name: a wrong name may be malware.
DISTRIBUTIONS = {
    "allauth": "django-allauth",
    "bootstrap4": "django-bootstrap4",
    "channels": "channels",
    "channels_redis": "channels-redis",
    "compressor": "django-compressor",
    "corsheaders": "django-cors-headers",
    "crispy_bootstrap5": "crispy-bootstrap5",
    "crispy_forms": "django-crispy-forms",
    "daphne": "daphne",
    "debug_toolbar": "django-debug-toolbar",
    "decouple": "python-decouple",
    "dj_database_url": "dj-database-url",
    "django_celery_beat": "django-celery-beat",
    "django_celery_results": "django-celery-results",
    "django_extensions": "django-extensions",
    "django_filters": "django-filter",
    "django_redis": "django-redis",
    "dotenv": "python-dotenv",
    "environ": "django-environ",
    "environs": "environs",
    "MySQLdb": "mysqlclient",
    "PIL": "pillow",
    "psycopg": PSYCOPG,
    "psycopg2": "psycopg2-binary",
    "redis": "redis",
    "rest_framework": "djangorestframework",
    "sentry_sdk": "sentry-sdk",
    "storages": "django-storages",
    "whitenoise": "whitenoise",
    "yaml": "PyYAML",
}
#: Names that settings commonly give to what Rootstock provides under a standard name.
ALIASES = {
    "SECRET_KEY": "SECRET_KEY",
    "ALLOWED_HOSTS": "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS": "CSRF_TRUSTED_ORIGINS",
    "DATABASE_URL": "DATABASE_URL",
    "DB_URL": "DATABASE_URL",
    "POSTGRES_URL": "DATABASE_URL",
    "CACHE_URL": "CACHE_URL",
    "REDIS_URL": "CACHE_URL",
    "CELERY_BROKER_URL": "CELERY_BROKER_URL",
    "BROKER_URL": "CELERY_BROKER_URL",
    "CELERY_BROKER": "CELERY_BROKER_URL",
    "CELERY_RESULT_BACKEND": "CELERY_RESULT_BACKEND",
    "RESULT_BACKEND": "CELERY_RESULT_BACKEND",
    "STATIC_ROOT": "STATIC_ROOT",
    "MEDIA_ROOT": "MEDIA_ROOT",
}
DATABASE_PART = re.compile(
    r"(?:\w+_)?(?:POSTGRES|POSTGRESQL|PG|DB|DATABASE|SQL)_?(HOST|PORT|NAME|DB|DATABASE|USER|USERNAME|PASSWORD|PASS)"
)
PARTS = {"DB": "name", "DATABASE": "name", "USERNAME": "user", "PASS": "password"}
SECRET = re.compile(r"KEY|SECRET|TOKEN|PASS|DSN|CREDENTIAL")
MARKER = "CHANGE_ME"
#: A value that is no address, no flag that is on, and a number: what settings do with it shows little.
PLACEHOLDER = "0"
#: How many names that are missing are looked for.
MOST_NAMES = 50
READINESS_PATHS = ("/readyz", "/healthz", "/health", "/health/", "/ht/", "/up", "/ping", "/api/health", "/")
NOBODYS_PATH = "/rootstock-asks-for-no-page"
OVERLAY = "rootstock_settings.py"
OVERLAYS = {
    "STATIC_ROOT": 'import os\nSTATIC_ROOT = os.environ["{}"]',
    "SECRET_KEY": 'import os\nSECRET_KEY = os.environ["{}"]',
    "ALLOWED_HOSTS": 'import os\nALLOWED_HOSTS = os.environ["{}"].split(",")',
    "DATABASE_URL": """import os
from urllib.parse import parse_qsl, unquote, urlsplit
url = urlsplit(os.environ["{}"])
DATABASES = {{
    "default": {{
        "ENGINE": "django.db.backends.postgresql",
        "HOST": url.hostname,
        "PORT": url.port or 5432,
        "NAME": url.path.removeprefix("/"),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "OPTIONS": dict(parse_qsl(url.query)),
    }}
}}""",
}


class Environment(os._Environ[str]):
    """The environment, which notes the names that somebody asks for in vain."""

    missed: list[str]

    def __getitem__(self, key: str) -> str:
        try:
            return super().__getitem__(key)
        except KeyError:
            self.missed.append(key)
            raise


def watch_environment() -> list[str]:
    """Return the list of names that are asked for in vain from now on."""
    missed: list[str] = []
    os.environ.__class__ = Environment
    os.environ.missed = missed  # type: ignore[attr-defined]
    return missed


def has(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def requirement(what: str, line: str) -> Problem:
    """A program or module that the virtual environment lacks."""
    rule = "the requirements of the application do not have it"
    fix = f"django_app_extra_requirements: [{line}]"
    return Problem(f"{what} is missing: {rule}. Fix: {fix}", {"django_app_extra_requirements": [line]})


class Inspection:
    """Looks at the release in the working directory."""

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self.report = Report()
        self.directory = Path.cwd()
        self.missed = watch_environment()
        # The overlay imports the application's own.
        self.loaded_module = os.environ.get("DJANGO_SETTINGS_MODULE", expected["settings_module"])
        self.package = expected["settings_module"].partition(".")[0]

    # --- what is said

    def add(self, text: str, paste: Mapping[str, Any] | None = None, waiver: str = "") -> None:
        """Note a problem, unless its rule is waived."""
        if waiver and waiver in self.expected["waived"]:
            return
        if waiver:
            text += f" (if it is meant: django_app_trial_waived: [{waiver}])"
        self.note(Problem(text, dict(paste or {})))

    def note(self, problem: Problem) -> None:
        if problem not in self.report.problems:
            self.report.problems.append(problem)

    def name_of(self, standard: str) -> str:
        """The first name by which the environment has a standard value."""
        names = self.expected["names"].get(standard, standard)
        return names if isinstance(names, str) else (names or [standard])[0]

    def alias(self, name: str) -> str:
        """The standard name that a name of the application's most likely stands for; empty for none."""
        for prefix in ("", "DJANGO_", "APP_", f"{self.package.upper()}_"):
            standard = ALIASES.get(name.removeprefix(prefix), "")
            if name.startswith(prefix) and standard:
                return standard
        return ""

    def mapping(self, standard: str, name: str) -> dict[str, Any]:
        """The variable that gives a standard value to a name as well."""
        there = self.expected["names"].get(standard, [])
        names = [*([there] if isinstance(there, str) else there), name]
        return {"app_environment_names": {standard: names if len(names) > 1 else name}}

    def provided(self, name: str) -> dict[str, Any]:
        """The variable that gives the application a name that its environment lacks."""
        standard = self.alias(name)
        if standard and (standard != name or standard in self.expected["names"]):
            return self.mapping(standard, name)
        if part := DATABASE_PART.fullmatch(name):
            return {"app_database_environment": {PARTS.get(part[1], part[1].lower()): name}}
        variable = "app_secret_environment" if SECRET.search(name) else "app_environment"
        return {variable: {name: MARKER}}

    def from_environment(self, standard: str) -> dict[str, Any]:
        """What makes settings take a standard value: a name they have asked for, or else the overlay."""
        for name in self.missed:
            if self.alias(name) == standard:
                return self.mapping(standard, name)
        if standard == "DATABASE_URL" and (
            parts := [name for name in self.missed if DATABASE_PART.fullmatch(name)]
        ):
            return self.provided_all(parts)
        return {"app_settings_overlay": OVERLAYS[standard].format(self.name_of(standard))}

    # --- what goes wrong when something is loaded

    def place_of(self, error: BaseException) -> tuple[str, int]:
        """File and line of the application's where an error came from; an empty name for none."""
        frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            frames.append((error.filename, error.lineno or 0))
        own = [frame for frame in frames if self.is_own(frame[0])]
        if not own:
            return "", 0
        path = Path(own[-1][0])
        if path.is_relative_to(self.directory):
            path = path.relative_to(self.directory)
        return str(path), own[-1][1]

    def is_own(self, filename: str) -> bool:
        """Whether a file is the release's, and not of what is installed; a package's settings are its own."""
        path = self.directory / filename
        if filename.startswith("<"):
            return False
        if path.is_relative_to(self.directory / ".venv") or "site-packages" in path.parts:
            return self.package in path.parts
        return path.is_relative_to(self.directory)

    def explain(self, what: str, error: BaseException) -> Problem:
        """Say in one line what did not load, where, and what provides what is missing."""
        last = " ".join("".join(traceback.format_exception_only(error)).split("\n")[-2:]).strip()
        last = re.sub(r"^(?:\w+\.)+(\w+):", r"\1:", last)
        file, line = self.place_of(error)
        where = f"{what} does not load: {last[:300].rstrip('.')}" + (
            f" ({file}, line {line})" if file else ""
        )
        if names := self.missing_names(error):
            paste = self.provided_all(names)
            rule = f"the environment has no {', '.join(names)}"
            return Problem(f"{where}: {rule}. Fix: {in_line(paste)}", paste)
        if isinstance(error, ModuleNotFoundError) and error.name:
            return self.missing_module(where, error.name)
        if Path(file).name == OVERLAY:
            fix = "correct app_settings_overlay"
        elif isinstance(error, FileNotFoundError) and self.is_own(str(error.filename)):
            path = Path(str(error.filename)).relative_to(self.directory)
            fix = f"app_files: [{{path: {path}, content: ...}}]"
        elif handler := re.search(r"Unable to configure handler '([\w.-]+)'", str(error)):
            value = '{"class": "logging.StreamHandler"}'
            fix = f'app_settings_overlay: LOGGING["handlers"]["{handler[1]}"] = {value}'
        else:
            fix = f"correct {file or 'what it names'}, or the variable that gives this value"
        return Problem(f"{where}. Fix: {fix}")

    def missing_names(self, error: BaseException) -> list[str]:
        """The names of the environment for want of which something failed; empty for any other error."""
        names = dict.fromkeys(self.missed)
        return [name for name in names if re.search(rf"\b{re.escape(name)}\b", str(error))]

    def provided_all(self, names: list[str]) -> dict[str, Any]:
        """The variables that give the application all of these names."""
        paste: dict[str, Any] = {}
        for name in names:
            for variable, value in self.provided(name).items():
                paste[variable] = paste.get(variable, {}) | value
        return paste

    def missing_module(self, where: str, module: str) -> Problem:
        top = module.partition(".")[0]
        if line := DISTRIBUTIONS.get(top):
            paste = {"django_app_extra_requirements": [line]}
            return Problem(f"{where}. Fix: {in_line(paste)}", paste)
        for package in sorted(self.directory.glob(f"*/{top}")) + sorted(self.directory.glob(f"*/{top}.py")):
            if not package.parent.name.startswith("."):
                pythonpath = {"app_environment": {"PYTHONPATH": package.parent.name}}
                return Problem(f"{where}. Fix: {in_line(pythonpath)}", pythonpath)
        if has(top):
            return Problem(f"{where}. Fix: correct the name of the module '{module}' where it is given")
        fix = f"add the requirement that has the module '{top}' to django_app_extra_requirements"
        return Problem(f"{where}. Fix: {fix}")

    def loads(self, what: str, action: Any, *arguments: Any) -> tuple[bool, Any]:
        """Call something of the application's; note the problem if it fails."""
        try:
            return True, action(*arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the application's code, 2026-11-30
            self.note(self.explain(what, error))
            return False, None

    # --- the rules

    def programs(self) -> None:
        """Programs that this host runs, and that the virtual environment has to have."""
        serves = self.expected["interface"]
        wanted = {"gunicorn": GUNICORN} if serves else {}
        if serves == "asgi":
            wanted |= UVICORN
        if self.expected["celery_application"]:
            wanted["celery"] = CELERY
        if self.expected["flower"]:
            wanted["flower"] = FLOWER
        for module, line in wanted.items():
            if not has(module):
                self.note(requirement(line.partition("==")[0].partition("[")[0], line))
        if "celery" in wanted and has("celery") and not has("redis"):
            version = importlib.metadata.version("celery")
            self.note(
                requirement("redis, with which Celery reaches its broker,", f"celery[redis]=={version}")
            )

    def settings(self) -> bool:
        """Import the settings, with each missing name in turn; return whether they are complete."""
        what = f"app_settings_module is {self.expected['settings_module']}: it"
        complete = True
        for _ in range(MOST_NAMES):
            try:
                importlib.import_module(self.loaded_module)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the application's code, 2026-11-30
                names = self.missing_names(error)
                if complete or names:
                    self.note(self.explain(what, error))
                complete = False
                if not set(names) - os.environ.keys():
                    return False
                # Only to see what else is missing: nothing is run with it.
                os.environ.update(dict.fromkeys(names, PLACEHOLDER))
            else:
                good, found = self.loads(what, self.modules)
                return complete and good and found
        return False

    def modules(self) -> bool:
        """Whether all modules are there that settings name as text; note each that is not."""
        module = sys.modules[self.loaded_module]
        named = [*getattr(module, "INSTALLED_APPS", ()), *getattr(module, "MIDDLEWARE", ())]
        for setting in ("CACHES", "STORAGES"):
            named += [value.get("BACKEND", "") for value in getattr(module, setting, {}).values()]
        redis = {"redis"} if "django.core.cache.backends.redis.RedisCache" in named else set()
        tops = {str(name).partition(".")[0] for name in named} | redis
        missing = [top for top in sorted(tops - {""}) if not has(top)]
        for top in missing:
            self.note(self.missing_module(f"The module {top}, which the settings name, is missing", top))
        return not missing

    def values(self, settings: Any) -> None:
        """What settings must not be in production."""
        if getattr(settings, "DEBUG", False) not in (False, PLACEHOLDER):
            name = next(
                (n for n in (*self.missed, *os.environ) if re.fullmatch(r"(DJANGO_|APP_)?DEBUG", n)), ""
            )
            paste: dict[str, Any] = (
                {"app_environment": {name: "0"}} if name and os.environ.get(name) != "0" else {}
            )
            paste = paste or {"app_settings_overlay": "DEBUG = False"}
            self.add(
                f"DEBUG is True: error pages show settings and code to everybody. Fix: {in_line(paste)}",
                paste,
                "debug",
            )
        engine = (getattr(settings, "DATABASES", None) or {}).get("default", {}).get("ENGINE", "")
        if re.search(r"sqlite|mysql|oracle|spatialite", engine):
            paste = self.from_environment("DATABASE_URL")
            rule = "PostgreSQL is what every release and every host shares"
            self.add(f"DATABASES has the engine {engine}: {rule}. Fix: {in_line(paste)}", paste, "database")
        elif re.search(r"postg|psql", engine) and not (has("psycopg") or has("psycopg2")):
            self.note(requirement("psycopg, the driver for PostgreSQL,", PSYCOPG))

    def secret_key(self, settings: Any) -> None:
        """The key is the vault's, by whatever name. It is never shown."""
        if settings.SECRET_KEY not in os.environ.values():
            paste = self.from_environment("SECRET_KEY")
            rule = "it must be this inventory's (vault_django_secret_key), not one that is in the code"
            self.add(f"SECRET_KEY is another value: {rule}. Fix: {in_line(paste)}", paste, "secret-key")

    def hosts(self, settings: Any) -> None:
        from django.http.request import validate_host

        domain = self.expected["domain"]
        if domain and not validate_host(domain, settings.ALLOWED_HOSTS):
            paste = self.from_environment("ALLOWED_HOSTS")
            rule = f"without app_domain ({domain}) every request is answered 400"
            self.add(
                f"ALLOWED_HOSTS is {settings.ALLOWED_HOSTS}: {rule}. Fix: {in_line(paste)}",
                paste,
                "allowed-hosts",
            )

    def readiness(self) -> None:
        from django.urls import Resolver404, resolve

        def route(path: str) -> str | None:
            try:
                return str(resolve(path.partition("?")[0]).route)
            except Resolver404:
                return None

        wanted = self.expected["readiness_path"]
        if route(wanted) is not None:
            return
        # A pattern that takes everything is no page of this name.
        everything = {route(NOBODYS_PATH), route(f"{NOBODYS_PATH}/"), None}
        tried = dict.fromkeys((f"{wanted}/", wanted.rstrip("/"), *READINESS_PATHS))
        found = [path for path in tried if path.startswith("/") and route(path) not in everything]
        rule = "no URL pattern matches it, so nothing would answer 200"
        if found:
            paste = {"django_app_readiness_path": found[0]}
            fix = in_line(paste) + (f" (there are {', '.join(found)})" if len(found) > 1 else "")
        else:
            paste, fix = (
                {},
                "django_app_readiness_path: a path of the application that answers 200 without a login",
            )
        self.add(f"django_app_readiness_path is {wanted}: {rule}. Fix: {fix}", paste, "readiness-path")

    def checks(self) -> None:
        """The application's system checks, each error by itself."""
        from django.core import checks

        for found in checks.run_checks():
            if found.is_serious() and not found.is_silenced():
                fix = found.hint or "correct it in the application, or the setting in app_settings_overlay"
                said = f"{found.id}: {str(found.msg).rstrip('.')}"
                of = f" ({found.obj})" if found.obj is not None else ""
                self.add(f"manage.py check says {said}{of}. Fix: {fix}")

    def entry_point(self) -> Any:
        module, _, name = self.expected["callable"].partition(":")
        found = getattr(importlib.import_module(module), name)
        if not callable(found):
            raise TypeError(f"'{name}' of {module} is not callable")
        return found

    def celery(self) -> Any:
        from celery.app.utils import find_app

        application = find_app(self.expected["celery_application"])
        # The configuration is read when it is asked for the first time.
        return application.conf.task_default_queue

    # --- static files

    def static_files(self, settings: Any) -> None:
        """Where static files are collected, and what has to be there then."""
        option = self.expected["collectstatic"]
        if "django.contrib.staticfiles" not in settings.INSTALLED_APPS:
            if option is True:
                rule = "django.contrib.staticfiles is not in INSTALLED_APPS"
                self.add(f"django_app_collectstatic is true: {rule}. Fix: django_app_collectstatic: auto")
            return
        from django.contrib.staticfiles.storage import staticfiles_storage
        from django.core.files.storage import FileSystemStorage

        good, local = self.loads(
            "The storage of static files", lambda: isinstance(staticfiles_storage, FileSystemStorage)
        )
        if not good:
            return
        self.report.collect = option is not False
        if local and not self.local_files(settings, staticfiles_storage.location):
            return
        self.find_manifests(settings, staticfiles_storage)

    def local_files(self, settings: Any, location: str | None) -> bool:
        """Note the directory; whether it is one of the release's own, which Nginx serves, or need not be."""
        place = Path(location) if location else None
        problem = self.misplaced(settings, place)
        if place and not problem:
            self.report.place = str(place)
        elif self.report.collect:
            self.report.collect = False
            paste = self.from_environment("STATIC_ROOT")
            self.add(f"STATIC_ROOT is {place or 'not set'}: {problem}. Fix: {in_line(paste)}", paste)
            return False
        return True

    def misplaced(self, settings: Any, place: Path | None) -> str:
        """Why static files cannot be collected there; empty if they can."""
        if place is None:
            return "collectstatic needs a directory"
        real, release = place.resolve(), self.directory.resolve()
        if place.is_relative_to(self.directory / ".venv") or "site-packages" in real.parts:
            return "it is in the virtual environment, which releases share"
        if real == release or not real.is_relative_to(release):
            return "static files belong to a release, so it must be below the release's directory"
        sources = [
            source[1] if isinstance(source, list | tuple) else source for source in settings.STATICFILES_DIRS
        ]
        if real in {Path(source).resolve() for source in sources}:
            return "it is in STATICFILES_DIRS as well, which is what static files are collected from"
        return ""

    def find_manifests(self, settings: Any, storage: Any) -> None:
        """Files that name the collected ones: without them each page that asks for one answers 500."""
        name = getattr(storage, "manifest_name", "")
        where = getattr(storage, "manifest_storage", storage)
        if (
            name
            and getattr(storage, "manifest_strict", True)
            and getattr(where, "location", None)
            and not settings.DEBUG
        ):
            self.report.manifests[where.path(name)] = "django_app_collectstatic: auto"
        if getattr(settings, "COMPRESS_ENABLED", False) and getattr(settings, "COMPRESS_OFFLINE", False):
            manifest = Path(
                settings.COMPRESS_ROOT, settings.COMPRESS_OUTPUT_DIR, settings.COMPRESS_OFFLINE_MANIFEST
            )
            django = "manage.py" if Path("manage.py").exists() else "-m django"
            self.report.manifests[str(manifest)] = f"django_app_build_commands: [python {django} compress]"

    # --- all of it

    def run(self) -> Report:
        self.programs()
        if not has("django"):
            self.add(
                "django is missing: the requirements of the application do not have it. Fix: add it to them"
            )
        elif self.settings():
            self.with_settings()
        elif module := sys.modules.get(self.loaded_module):
            self.loads("The settings", self.values, module)
            self.loads("The settings", self.without_place, module)
        return self.report

    def without_place(self, module: Any) -> None:
        """A STATIC_ROOT that is not there can be told without Django."""
        storage = getattr(module, "STORAGES", {}).get("staticfiles", {})
        if (
            "django.contrib.staticfiles" in getattr(module, "INSTALLED_APPS", ())
            and not getattr(module, "STATIC_ROOT", None)
            and not storage.get("OPTIONS")
            and self.expected["collectstatic"] is not False
        ):
            self.report.collect = True
            self.local_files(module, None)

    def with_settings(self) -> None:
        import django
        from django.conf import settings

        good, _ = self.loads("The settings", self.values, settings)
        good = self.loads("Django", django.setup)[0] and good
        if not good:
            return
        self.report.whole = True
        self.secret_key(settings)
        self.loads("STATIC_ROOT", self.static_files, settings)
        if self.expected["celery_application"] and has("celery"):
            name = self.expected["celery_application"]
            self.loads(f"app_celery_application is {name}: it", self.celery)
        if self.expected["interface"]:
            self.served(settings)

    def served(self, settings: Any) -> None:
        """What only a host that serves needs: where it does not, URLs are not loaded."""
        self.hosts(settings)
        good, _ = self.loads("manage.py check", self.checks)
        if good:
            self.loads("django_app_readiness_path", self.readiness)
        variable = f"app_{self.expected['interface']}_module"
        self.loads(f"{variable} is {self.expected['callable']}: it", self.entry_point)


def in_line(paste: Mapping[str, Any]) -> str:
    """The variables as one line of YAML; an overlay of several lines stands in the block only."""
    return ", ".join(
        (f"{variable}: {value.splitlines()[-1]}" if len(value) < 100 else f"{variable}, as below")
        if variable == "app_settings_overlay"
        else f"{variable}: {flow(value)}"
        for variable, value in paste.items()
    )


def flow(value: Any) -> str:
    """A value of YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z/][\w./=<>~!\[\]-]*", text) and "[" not in text else json.dumps(text)


def main(expected: str) -> int:
    """Print the report; the application cannot print into it."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    report = Inspection(json.loads(expected)).run()
    print(json.dumps(asdict(report)), file=answer, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
