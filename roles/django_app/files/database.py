"""Look at a PostgreSQL that others run, with the code of a release, before anything is changed in it.

Runs in the application's environment, virtual environment and release directory. The argument is a JSON
object (see Expected). Exit status 1 if the release could not work with it, with a line for each problem on
stderr. What may become a problem is a line on stdout that begins with "Look up: ". Neither has a password.
"""

# mypy: disable-error-code="import-not-found"
# Django has no types, and is the application's.

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import django
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

#: Seconds, where neither the application nor its URL has a limit: the library's own is minutes.
CONNECT_SECONDS = "10"
#: libpq's modes, the weakest first.
MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


class Expected(TypedDict):
    """What the inventory says: the least sslmode, whether this host migrates, how many connections all hosts
    may open at once, and the rules that are not applied."""

    sslmode: str
    migrates: bool
    connections: int
    waived: list[str]


class Advice(str):
    """What the user should look at: nothing is refused."""

    __slots__ = ()


def one_line(error: BaseException) -> str:
    """Return an error's text without line breaks, and without the users and passwords of URLs."""
    return re.sub(r"://\S*@", "://**@", " ".join(str(error).split()))


def ask(database: Any, query: str) -> tuple[Any, ...]:
    """Return the one row of a query."""
    with database.cursor() as cursor:
        cursor.execute(query)
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def sslmode(database: Any) -> str:
    """Return how the application's own connection treats TLS; both of Django's drivers tell it."""
    raw = database.connection
    options = raw.info.get_parameters() if hasattr(raw, "pgconn") else raw.info.dsn_parameters
    return str(options.get("sslmode", "prefer"))


def encryption(database: Any, expected: Expected) -> Iterator[str]:
    wanted, found = expected["sslmode"], sslmode(database)
    if wanted and MODES.index(found) < MODES.index(wanted):
        (encrypted,) = ask(database, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        yield (
            f"app_database_url asks for sslmode={wanted}, and the application connects with sslmode={found}, "
            f"{'this time' if encrypted else 'not'} encrypted: pass the URL's options on to OPTIONS of "
            "DATABASES, and set no other sslmode there"
        )


def writable(database: Any, _: Expected) -> Iterator[str]:
    replica, read_only = ask(
        database, "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
    )
    if replica:
        yield "the server is a replica, which only reads: let app_database_url name the primary"
    elif read_only:
        yield "transactions only read: set default_transaction_read_only to off for this role and database"


def migrations_wait(database: Any) -> bool:
    """Whether there is something to migrate. A migration that cannot be loaded is for `migrate` to report."""
    from django.db.migrations.executor import MigrationExecutor  # needs the settings

    try:
        executor = MigrationExecutor(database)
        return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except Exception:  # noqa: BLE001 - a migration is the application's code, 2026-11-27
        return False


def rights(database: Any, expected: Expected) -> Iterator[str]:
    if not expected["migrates"]:
        return
    schema, user, may_create = ask(
        database,
        "SELECT current_schema(), current_user, "
        "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)",
    )
    if not may_create and migrations_wait(database):
        place = f"in the schema {schema}" if schema else "in any schema of its search_path"
        yield (
            f"the role {user} may not create tables {place}, and migrations wait: make it the owner of the "
            f"database, or GRANT USAGE, CREATE ON SCHEMA {schema or 'public'} TO {user}"
        )


def room(database: Any, expected: Expected) -> Iterator[str]:
    limits = ask(
        database,
        "SELECT current_setting('max_connections')::int "
        "- current_setting('superuser_reserved_connections')::int "
        "- coalesce(current_setting('reserved_connections', true)::int, 0), "
        "(SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user), "
        "(SELECT datconnlimit FROM pg_database WHERE datname = current_database())",
    )
    # -1 is no limit.
    has = min(limit for limit in limits if limit is not None and limit >= 0)
    if has < expected["connections"]:
        yield Advice(
            f"PostgreSQL lets this role have {has} connections, and the programs may open "
            f"{expected['connections']} while old and new ones are there: raise its limit, put a pooler "
            "before it, or lower django_app_gunicorn_workers, django_app_gunicorn_threads or concurrency in "
            "celery_worker_pools"
        )


RULES: dict[str, Callable[[Any, Expected], Iterator[str]]] = {
    "encryption": encryption,
    "writable": writable,
    "rights": rights,
    "room": room,
}


def tried(rule: str, database: Any, expected: Expected) -> Iterator[str]:
    """Yield what a rule finds. Something that only speaks like PostgreSQL may lack what it looks at."""
    try:
        yield from RULES[rule](database, expected)
    except DatabaseError as error:
        yield Advice(f"this could not be asked: {one_line(error)}")


def problems(expected: Expected) -> Iterator[str]:
    """Yield a line for each problem, beginning with the rule's id."""
    for rule in expected["waived"]:
        if rule not in RULES:
            yield (
                f"waived: django_app_database_waived has '{rule}', which is no rule; there are "
                f"{', '.join(RULES)}"
            )
    database = connections[DEFAULT_DB_ALIAS]
    if database.vendor != "postgresql":
        yield Advice(
            f"the application's default database is {database.vendor} and not app_database_url: if that is "
            "meant, remove the variable; otherwise read DATABASE_URL in the settings"
        )
        return
    try:
        database.ensure_connection()
    except Exception as error:  # noqa: BLE001 - whatever the application's database backend raises, 2026-11-27
        yield f"reachable: {one_line(error)}; correct app_database_url, or let this host in"
        return
    for rule in RULES:
        if rule not in expected["waived"]:
            yield from (type(found)(f"{rule}: {found}") for found in tried(rule, database, expected))


def main(expected: str) -> int:
    """Return the exit status: 0 if no rule is broken, else 1."""
    os.environ.setdefault("PGCONNECT_TIMEOUT", CONNECT_SECONDS)
    django.setup()
    found = list(problems(json.loads(expected)))
    refused = [problem for problem in found if not isinstance(problem, Advice)]
    for problem in refused:
        print(problem, file=sys.stderr)
    # In a run's output these are told apart from what the application itself prints.
    for problem in found:
        if isinstance(problem, Advice):
            print(f"Look up: {problem}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
