"""Prove Django's caches with the code of a release, before it is started.

Runs in the application's environment, virtual environment and release directory. The argument is a JSON
object (see Expected). Exit status 1 if a cache does not keep what it is told, with a line for each problem on
stderr. Prints a JSON object: `pages` has the login page, if the settings name one that the URLs have.
"""

# mypy: disable-error-code="import-not-found"
# Django has no types, and is the application's.

import json
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypedDict
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.cache import caches
from django.shortcuts import resolve_url
from django.urls import Resolver404, resolve

REDIS_SCHEMES = {"redis", "rediss"}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
#: It keeps nothing, by design: there is nothing to prove.
DUMMY = "django.core.cache.backends.dummy.DummyCache"
SECONDS = 60


class Address(TypedDict):
    """A database of Redis that is another program's."""

    name: str
    host: str
    port: int
    db: int


class Expected(TypedDict):
    """Which databases are no cache's, and whether nothing of the application has served before.

    Only then clear() is tried: it would throw away what the live release has in its cache, sessions too.
    """

    taken: list[Address]
    first: bool


def one_line(error: BaseException) -> str:
    """Return an error's text without line breaks, and without the users and passwords of URLs."""
    text = re.sub(r"://\S*@", "://**@", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def locations(cache: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield host, port and database of each Redis that an entry of CACHES names."""
    given = cache.get("LOCATION", "")
    options = cache.get("OPTIONS") or {}
    for url in re.split(r"[,;]", given) if isinstance(given, str) else given:
        with suppress(ValueError):
            parts = urlsplit(str(url))
            if parts.scheme in REDIS_SCHEMES:
                database = parts.path.strip("/") or "0"
                db = options.get("db", int(database) if database.isdecimal() else 0)
                yield parts.hostname or "localhost", parts.port or 6379, int(db)


def is_same(host: str, other: str) -> bool:
    return host == other or {host, other} <= LOOPBACK


def misplaced(alias: str, cache: Mapping[str, Any], taken: list[Address]) -> Iterator[str]:
    """Yield a problem for each place of a cache that is another program's."""
    for host, port, db in locations(cache):
        for address in taken:
            if is_same(host, address["host"]) and (port, db) == (address["port"], address["db"]):
                yield (
                    f"CACHES['{alias}'] of the settings is database {db} of {host}:{port}, which is "
                    f"{address['name']}: clear() is refused there, or deletes what is not its own. Fix: let "
                    "the cache have CACHE_URL, under the name that the settings read (app_environment_names)."
                )


def unproved(alias: str, first: bool) -> Iterator[str]:
    """Yield why a cache does not keep what it is told. `first`: clear() may be tried, too."""
    key, value = f"rootstock-proof-{secrets.token_hex(8)}", secrets.token_hex(8)
    what = ""
    try:
        cache = caches[alias]
        what = "set()"
        cache.set(key, value, SECONDS)
        what = "get()"
        if cache.get(key) != value:
            yield (
                f"CACHES['{alias}'] of the settings does not return what was just set: its backend hides an "
                "error, or does not reach its server. Fix: let LOCATION be CACHE_URL of the environment."
            )
            return
        what = "clear()" if first else "delete()"
        if first:
            cache.clear()
        else:
            cache.delete(key)
        if cache.get(key) is not None:
            yield f"CACHES['{alias}'] of the settings still has a value after {what}. Fix: its backend."
    except Exception as error:  # noqa: BLE001 - whatever a backend raises is the finding, 2026-11-30
        yield (
            f"CACHES['{alias}'] of the settings fails at {what or 'its start'}: {one_line(error)}. "
            f"Fix: {fix(error)}"
        )


def fix(error: BaseException) -> str:
    """Return what to type so that a cache does not fail like this."""
    # By its name: the package of a backend may be missing.
    text = str(error)
    if type(error).__name__ == "NoPermissionError":
        command = re.search(r"run the '([^']+)' command", text)
        rule = f"+{command[1]}" if command else "~KEY"
        return f'app_redis_rules: ["{rule}"] (docs/tasks/redis-rights.md).'
    if type(error).__name__ == "AuthenticationError":
        return "let LOCATION be CACHE_URL of the environment, unchanged: it has the user and the password."
    if type(error).__name__ in ("ProgrammingError", "OperationalError") and "cache" in text:
        return "django_app_commands: [createcachetable]"
    if isinstance(error, ImportError) or isinstance(error.__cause__, ImportError):
        return "add the package to django_app_extra_requirements."
    return "let LOCATION be CACHE_URL of the environment, under the name that the settings read."


def pages() -> list[str]:
    """Return the login page, if the application has one."""
    try:
        path: str = resolve_url(settings.LOGIN_URL)
        resolve(urlsplit(path).path)
    except (Resolver404, ValueError, TypeError):
        return []
    return [path] if path.startswith("/") else []


def main(expected: str) -> int:
    """Exit status: 1 if a cache does not do what Django's API promises."""
    wanted: Expected = json.loads(expected)
    django.setup()
    problems = []
    for alias, cache in settings.CACHES.items():
        if cache.get("BACKEND") == DUMMY:
            continue
        found = list(misplaced(alias, cache, wanted["taken"]))
        # Not there: clear() would be what is warned of.
        problems += found or list(unproved(alias, wanted["first"]))
    print("\n".join(problems), file=sys.stderr)
    print(json.dumps({"pages": pages()}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
