"""What Rootstock gives an application, under the names that its settings read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .environment import UNKNOWN, Names, Read, all_reads, reads_in
from .expressions import is_literal, last_name, text
from .settings import Settings, Value

OF_CELERY = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
STANDARD = ("SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DATABASE_URL", "CACHE_URL", *OF_CELERY)
DIRECTORIES = ("STATIC_ROOT", "MEDIA_ROOT")
# Every process has these, by Rootstock or by the system.
THERE = {
    *STANDARD,
    *DIRECTORIES,
    "DJANGO_SETTINGS_MODULE",
    "CELERY_VISIBILITY_TIMEOUT",
    "CELERY_SEND_TASK_EVENTS",
}
THERE |= {"REDIS_KEY_PREFIX", "HOME", "PATH", "PYTHONPATH", "LANG", "USER", "PWD", "PORT", "WEB_CONCURRENCY"}
PARTS = {"HOST": "host", "PORT": "port", "NAME": "name", "USER": "user", "PASSWORD": "password"}
# Names that are read where no setting shows what for.
USUAL = {
    "SECRET_KEY": re.compile(r"(DJANGO_|APP_)?SECRET(_KEY)?"),
    "ALLOWED_HOSTS": re.compile(r"(DJANGO_)?ALLOWED_HOSTS?"),
    "CSRF_TRUSTED_ORIGINS": re.compile(r"(DJANGO_)?CSRF_TRUSTED_ORIGINS"),
    "DATABASE_URL": re.compile(r"(DJANGO_)?(DATABASE|DB|POSTGRES)_UR[LI]"),
    # A Redis for whatever use is not the broker's, where it could delete tasks.
    "CACHE_URL": re.compile(r"(DJANGO_)?(REDIS_CACHE|CACHE_REDIS|CACHE)_(URL|LOCATION)|REDIS_URL"),
    "CELERY_BROKER_URL": re.compile(r"(CELERY_)?BROKER(_URL)?|CELERY_REDIS_URL"),
    "CELERY_RESULT_BACKEND": re.compile(r"(CELERY_)?RESULT_(BACKEND|URL)(_URL)?"),
}
PART = re.compile(
    r"(?:DJANGO_)?(?:POSTGRES(?:QL)?|PG|DB|DATABASE|SQL|RDS)_?"
    r"(?P<part>HOST|HOSTNAME|SERVER|PORT|NAME|DB|DBNAME|DATABASE|USER|USERNAME|PASS|PASSWORD)"
)
PART_OF = {"HOSTNAME": "host", "SERVER": "host", "DB": "name", "DBNAME": "name", "DATABASE": "name"}
PART_OF |= {"USERNAME": "user", "PASS": "password"} | PARTS
SECRET = re.compile(r".*(SECRET|PASSW|PASSPHRASE|TOKEN|KEY|CREDENTIAL|DSN|PRIVATE|SALT|AUTH).*")
POSTGRESQL = "django.db.backends.postgresql"


@dataclass
class Mapping:
    """Variables of the inventory that concern the environment."""

    names: dict[str, list[str]] = field(default_factory=dict)
    database: dict[str, list[str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)
    # Lines of Python after the settings.
    overlay: list[str] = field(default_factory=list)
    # The directory of uploads, where the settings name one of the project.
    media: str = ""
    found: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def name(self, standard: str, *names: str) -> None:
        """Give a value to these names."""
        known = self.names.setdefault(standard, [])
        known += [name for name in dict.fromkeys(names) if name not in known]

    def part(self, part: str, *names: str) -> None:
        """Give a part of the database's address to these names."""
        known = self.database.setdefault(part, [])
        known += [name for name in dict.fromkeys(names) if name not in known]

    def given(self) -> set[str]:
        """Return the names that have a value."""
        mapped = [*self.names.values(), *self.database.values()]
        return {name for names in mapped for name in names} | set(self.environment) | THERE


def whole_reads(values: list[Value], names: Names) -> list[Read]:
    """Return the variables that are values by themselves."""
    return [read for value in values for read in reads_in(value, names) if not read.part]


def is_fixed(values: list[Value], names: Names) -> bool:
    """Whether no variable has a say in what a setting is."""
    return not any(read for value in values for read in reads_in(value, names))


def pairs_of(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the keys and values of all dictionaries of an expression, those inside others first."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Dict):
            for key, value in zip(inner.keys, inner.values, strict=True):
                if key is not None and text(key):
                    yield text(key), value
        elif isinstance(inner, ast.Call) and last_name(inner.func) == "dict":
            for given in inner.keywords:
                if given.arg:
                    yield given.arg, given.value


def mapping_of(
    settings: Settings,
    names: Names,
    broker: list[Value],
    results: list[Value],
    more: list[str],
    packaged: bool,
) -> Mapping:
    """Return what the settings need.

    `broker` and `results` are Celery's addresses, `more` are files beside the settings. The directories of a
    package are where nobody may write.
    """
    found = Mapping()
    reads = all_reads(names, more)
    needed = {read.name for read in reads if read.required}
    # Nothing is known of settings that were not found.
    if settings.paths:
        secret_key(found, settings, names)
        hosts(found, settings, names)
        debug(found, settings, names)
        database(found, settings, names, needed)
        directories(found, settings, names, packaged)
        cache(found, settings, names)
        celery(found, names, broker, results)
    rest(found, reads, needed)
    # What is read by its standard name alone needs no word.
    found.names = {standard: given for standard, given in found.names.items() if given != [standard]}
    return found


def secret_key(found: Mapping, settings: Settings, names: Names) -> None:
    """Map SECRET_KEY, or set it where it stands in the code."""
    values = settings.of("SECRET_KEY")
    reads = whole_reads(values, names)
    if reads:
        found.name("SECRET_KEY", *(read.name for read in reads))
    elif values and is_fixed(values, names) and is_literal(values[-1].node):
        found.overlay.append('SECRET_KEY = os.environ["SECRET_KEY"]')
        found.found.append("SECRET_KEY stands in the code: app_settings_overlay replaces it")


def hosts(found: Mapping, settings: Settings, names: Names) -> None:
    """Map ALLOWED_HOSTS and CSRF_TRUSTED_ORIGINS."""
    values = settings.of("ALLOWED_HOSTS")
    reads = whole_reads(values, names)
    blanks = [value for value in values if splits_at_blanks(value.node)]
    if reads and blanks:
        for read in reads:
            found.environment[read.name] = (
                "{{ ([app_domain] + app_extra_domains | default([])) | join(' ') }}"
            )
    elif reads:
        found.name("ALLOWED_HOSTS", *(read.name for read in reads))
    elif is_fixed(values, names):
        fixed = settings.literals("ALLOWED_HOSTS")
        if not any("*" in hosts for hosts in fixed if isinstance(hosts, list | tuple)):
            found.overlay.append('ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")')
            found.found.append("ALLOWED_HOSTS stands in the code: app_settings_overlay replaces it")
    reads = whole_reads(settings.of("CSRF_TRUSTED_ORIGINS"), names)
    if reads:
        found.name("CSRF_TRUSTED_ORIGINS", *(read.name for read in reads))


def splits_at_blanks(node: ast.AST) -> bool:
    """Whether an expression takes blanks between the items of a list."""
    return any(
        isinstance(inner, ast.Call)
        and last_name(inner.func) == "split"
        and (not inner.args or text(inner.args[0]) == " ")
        for inner in ast.walk(node)
    )


def debug(found: Mapping, settings: Settings, names: Names) -> None:
    """Switch DEBUG off where it would be on."""
    values = settings.of("DEBUG")
    if not values:
        return
    value = values[-1]
    reads = list(reads_in(value, names))
    if not reads:
        if any(settings.literals("DEBUG")[-1:]):
            found.overlay.append("DEBUG = False")
            found.found.append("DEBUG is on in the code: app_settings_overlay switches it off")
        return
    for read in reads:
        wanted, off = off_by(value.node, read.default)
        if read.name not in found.given() and not off:
            found.environment[read.name] = wanted


def off_by(node: ast.AST, default: Any) -> tuple[str, bool]:
    """Return the text that switches an expression off, and whether the default does so already."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Compare) and isinstance(inner.ops[0], ast.NotEq):
            other = next(filter(None, map(text, [*inner.comparators, inner.left])), "0")
            return other, default == other
        if isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.Not):
            return "1", default is not UNKNOWN and bool(default)
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "bool":
            # bool("0") is true, bool("") is not.
            texts = {last_name(one.func) for one in inner.args if isinstance(one, ast.Call)}
            if texts & {"get", "getenv"}:
                return "", default in ("", None)
    return "0", default in (False, None, 0, "", "0", "False", "false", "no", "off")


# A key that is no literal is a name for it.
DEFAULT_KEYS = ("default", "")


def is_default(value: Value) -> bool:
    """Whether this is all databases, or the default one: not a replica."""
    keys = (
        [text(key) for key in value.node.keys if key is not None] if isinstance(value.node, ast.Dict) else []
    )
    return not keys or bool(set(keys) & {*DEFAULT_KEYS, *PARTS})


def default_of(value: Value) -> Value:
    """Return the default database of all."""
    if isinstance(value.node, ast.Dict):
        for key, node in zip(value.node.keys, value.node.values, strict=True):
            if key is not None and text(key) in DEFAULT_KEYS:
                return Value(node, value.path)
    return value


def database(found: Mapping, settings: Settings, names: Names, needed: set[str]) -> None:
    """Map the URL or the parts of the database's address; what is fixed is set after the settings."""
    given = [one for value in settings.of("DATABASES") for one in settings.resolved(value)]
    values = [default_of(value) for value in given if is_default(value)]
    reads = [read for value in values for read in reads_in(value, names)]
    urls = [read for read in reads if read.standard or USUAL["DATABASE_URL"].fullmatch(read.name)]
    if urls:
        found.name("DATABASE_URL", *(read.name for read in urls))
    parts: dict[str, list[Read]] = {}
    for key, node, value in ((k, n, v) for v in values for k, n in pairs_of(v.node)):
        if key in PARTS or key == "ENGINE":
            parts.setdefault(key, []).extend(reads_in(Value(node, value.path), names))
    # A default engine that the environment can change.
    for read in parts.pop("ENGINE", []):
        if POSTGRESQL not in str(read.default) and read.default != "postgresql" and read not in urls:
            found.environment[read.name] = "postgresql" if read.part else POSTGRESQL
            found.guessed.append(f"{read.name} is the engine of the database")
    for key, read_for in parts.items():
        # Beside a URL the parts are what is read without one.
        wanted = [
            read.name
            for read in read_for
            if not read.standard and not read.part and (not urls or read.name in needed)
        ]
        if wanted:
            found.part(PARTS[key], *wanted)
    if not urls:
        fixed_database(found, settings, values, parts)


def fixed_database(
    found: Mapping, settings: Settings, values: list[Value], parts: dict[str, list[Read]]
) -> None:
    """Set what no variable reaches: the whole database, or those of its parts that stand in the code."""
    engines = {word for word in settings.texts("DATABASES") if word.count(".") >= 2 or "backend" in word}
    foreign = bool(engines) and not any("postg" in engine or "psycopg" in engine for engine in engines)
    whole = not found.database
    absent = [key for key in PARTS if PARTS[key] not in found.database and (key != "PORT" or whole)]
    if not values and not settings.paths:
        return
    for key in absent:
        found.part(PARTS[key], f"DATABASE_{key}")
    if whole:
        lines = [f'    "ENGINE": "{POSTGRESQL}",']
        lines += [f'    "{key}": os.environ["DATABASE_{key}"],' for key in PARTS]
        found.overlay += (
            ['DATABASES["default"] = {', *lines, "}"]
            if values
            else ['DATABASES = {"default": {', *lines, "}}"]
        )
        if engines:
            found.found.append("the database stands in the code: app_settings_overlay replaces it")
        else:
            found.guessed.append(
                "app_settings_overlay replaces the database: which variables it is made of cannot be told"
            )
        return
    found.overlay += [f'DATABASES["default"]["{key}"] = os.environ["DATABASE_{key}"]' for key in absent]
    if foreign and not any(
        name in found.environment for name in found.environment if found.environment[name] == POSTGRESQL
    ):
        found.overlay.append(f'DATABASES["default"]["ENGINE"] = "{POSTGRESQL}"')
    if absent:
        found.found.append(
            "parts of the database's address stand in the code: app_settings_overlay replaces them"
        )


def directories(found: Mapping, settings: Settings, names: Names, packaged: bool) -> None:
    """Map STATIC_ROOT and MEDIA_ROOT, or set those that lead out of the release."""
    for standard in DIRECTORIES:
        values = settings.of(standard)
        reads = whole_reads(values, names)
        if reads:
            found.name(standard, *(read.name for read in reads))
            continue
        place = settings.path_of(values[-1]) if values and not packaged else None
        if place is not None:
            found.found.append(f"{standard} is {place}, in the project")
        fixed = bool(values) and (
            packaged or any(str(value).startswith("/") for value in settings.literals(standard))
        )
        absent = not values and "django.contrib.staticfiles" in settings.texts("INSTALLED_APPS")
        if place is None and (fixed or (absent and standard == "STATIC_ROOT")):
            found.overlay.append(f'{standard} = os.environ["{standard}"]')
            why = "outside the project" if fixed else "not set"
            found.found.append(f"{standard} ({why}): app_settings_overlay sets it")
        elif place is None and values:
            found.missing.append(f"where {standard} is: the trial of the first deploy tells")
        elif place is not None and standard == "MEDIA_ROOT":
            found.media = str(place)


def caches_of(settings: Settings) -> Iterator[tuple[str, ast.expr, str]]:
    """Yield each cache of the settings: its alias, its description and the file."""
    for value in settings.of("CACHES"):
        for one in settings.resolved(value):
            # CACHES["sessions"] = … may be under a condition.
            if isinstance(one.node, ast.Dict) and hasattr(one.node, "lineno"):
                for key, node in zip(one.node.keys, one.node.values, strict=True):
                    if key is not None and text(key):
                        yield text(key), node, one.path


def cache(found: Mapping, settings: Settings, names: Names) -> None:
    """Map the cache's address; one in Redis that stands in the code is set after the settings."""
    for value in settings.of("CACHES"):
        for read in reads_in(value, names):
            if read.standard == "CACHE_URL" or USUAL["CACHE_URL"].fullmatch(read.name):
                found.name("CACHE_URL", read.name)
    for alias, node, path in caches_of(settings):
        described = dict(pairs_of(node))
        if "redis" not in text(described.get("BACKEND")).lower() or "LOCATION" not in described:
            continue
        reads = list(reads_in(Value(described["LOCATION"], path), names))
        for read in reads:
            if not read.part:
                found.name("CACHE_URL", read.name)
        if all(read.part for read in reads):
            found.overlay.append(f'CACHES["{alias}"]["LOCATION"] = os.environ["CACHE_URL"]')
            found.found.append(
                f"the address of the cache {alias!r} stands in the code: app_settings_overlay replaces it"
            )


def celery(found: Mapping, names: Names, broker: list[Value], results: list[Value]) -> None:
    """Map Celery's addresses. A name that is also the cache's stays the cache's: Celery reads its own two."""
    taken = set(found.names.get("CACHE_URL", []))
    for standard, values in zip(OF_CELERY, (broker, results), strict=True):
        wanted = [read.name for read in whole_reads(values, names) if read.name not in taken]
        if wanted:
            found.name(standard, *wanted)
            taken |= set(wanted)
        elif any(read.name in found.names.get("CACHE_URL", []) for read in whole_reads(values, names)):
            found.found.append(
                f"one address for cache and Celery: it is the cache's, and Celery reads {standard} by itself"
            )


def rest(found: Mapping, reads: list[Read], needed: set[str]) -> None:
    """Sort what is left: known by its name, needed, or optional."""
    for name in dict.fromkeys(read.name for read in reads if read.name not in found.given()):
        standard = next((one for one, usual in USUAL.items() if usual.fullmatch(name)), "")
        part = PART.fullmatch(name)
        if name not in needed:
            found.optional.append(name)
        elif standard and standard not in found.names:
            found.name(standard, name)
            found.guessed.append(f"{name} is {standard}, by its name")
        elif part:
            found.part(PART_OF[part["part"]], name)
            found.guessed.append(f"{name} is a part of the database's address, by its name")
        elif SECRET.fullmatch(name):
            found.secrets.append(name)
        else:
            found.environment[name] = "CHANGE_ME"
