"""Migrate the database with the code of a release; undo what this run has applied if one migration fails.

Runs in the application's environment, virtual environment and release directory, while the release before
still serves. Arguments: the release; the seconds that a migration may wait for a lock (0: for ever); the file
in which it is noted what is being applied. Exit status 1 if the database is not migrated, with the reason on
stderr.

Each migration is a transaction of its own: one around all of them would hold every lock until the end.
"""

# mypy: disable-error-code="import-not-found"
# Django has no types, and is the application's.

import fcntl
import runpy
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from django.core.management import execute_from_command_line
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_migrate

#: How long to wait for a migration that an interrupted deploy has left running.
PREDECESSOR_SECONDS = 600.0
#: PostgreSQL's lock_not_available.
LOCK_NOT_AVAILABLE = "55P03"
#: PostgreSQL 14 is the first that looks for a client that has died while a statement runs.
CLIENT_CHECK_VERSION = 140000
UNDO_ATTEMPTS = 5

Key = tuple[str, str]


def say(text: str) -> None:
    print(text, file=sys.stderr)


def named(keys: Iterable[Key]) -> str:
    return ", ".join(map(".".join, keys))


def lock(note: TextIO) -> bool:
    """Return whether the note is this run's alone; another run may go on although its deploy was killed."""
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.2)
        else:
            return True
    return False


def read(note: TextIO, release: str) -> list[Key]:
    """Return what an interrupted run of the same release was applying."""
    note.seek(0)
    lines = note.read().splitlines()
    keys = [line.partition(".") for line in lines[1:]]
    return [(app, name) for app, _, name in keys] if lines[:1] == [release] else []


def write(note: TextIO, lines: Iterable[str]) -> None:
    """Replace the note's content. One that is cut off here does no harm: nothing has been applied yet."""
    note.seek(0)
    note.truncate()
    note.writelines(f"{line}\n" for line in lines)
    note.flush()


def limit_waits(seconds: float) -> Callable[..., None]:
    """Return a receiver that limits the waits of each new connection to PostgreSQL.

    It is not done by PGOPTIONS: options of the application's own settings would replace it.
    """

    def limit(connection: Any, **_: object) -> None:
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", [str(round(seconds * 1000))])
                # A run that is killed must not hold its locks until its statement ends.
                if connection.pg_version >= CLIENT_CHECK_VERSION:
                    cursor.execute("SET client_connection_check_interval = 1000")

    return limit


def patiently(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Run a statement; one that is CONCURRENTLY waits as long as it takes.

    It holds up nobody while it waits, and would leave an invalid index behind if it gave up.
    """
    if context["connection"].vendor != "postgresql" or "CONCURRENTLY" not in str(sql).upper():
        return execute(sql, params, many, context)
    with context["connection"].cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute("SET lock_timeout = 0")
        try:
            return execute(sql, params, many, context)
        finally:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])


def manage(*arguments: str) -> None:
    """Run a management command in this process, by the application's own manage.py if there is one.

    Raises what the command raises.
    """
    sys.argv = ["manage.py", *arguments]
    try:
        if Path("manage.py").is_file():
            runpy.run_path("manage.py", run_name="__main__")
        else:
            execute_from_command_line(sys.argv)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise


def gave_up(error: BaseException) -> bool:
    """Return whether a lock was not to be had in time."""
    codes = (getattr(error.__cause__, name, None) for name in ("sqlstate", "pgcode"))
    return LOCK_NOT_AVAILABLE in codes


def reason(error: BaseException) -> str:
    """Return the error in the words of who raised it, and the application's own line that led to it."""
    text = "".join(traceback.format_exception_only(error)).strip()
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(Path.cwd()) and "site-packages" not in frame.filename
    ]
    last = [frame for frame in ours if Path(frame.filename).name != "manage.py"][-1:]
    return "\n".join([text, *(f"  at {frame.filename}:{frame.lineno}: {frame.line}" for frame in last)])


def applied(planned: list[Key]) -> list[Key]:
    """Return which of the migrations are applied, oldest first. Raises what the database raises."""
    from django.db.migrations.recorder import MigrationRecorder  # needs the settings

    # What failed may have broken the connection.
    connections[DEFAULT_DB_ALIAS].close()
    recorded = MigrationRecorder(connections[DEFAULT_DB_ALIAS]).applied_migrations()
    return [key for key in planned if key in recorded]


def unapply(key: Key) -> tuple[list[Key], str]:
    """Undo one migration. Return those that it needs and itself, if it stays, and why it does.

    Not by `migrate APP NAME`: that would also undo a branch of the same app which was applied long before.
    """
    from django.apps import apps
    from django.core.management.sql import emit_pre_migrate_signal
    from django.db.migrations.executor import MigrationExecutor

    connection = connections[DEFAULT_DB_ALIAS]
    for attempt in range(1, UNDO_ATTEMPTS + 1):
        executor = MigrationExecutor(connection)
        graph = executor.loader.graph
        if key not in graph.nodes:
            return [key], "it is part of a squashed migration"
        plan = [(graph.nodes[key], True)]
        try:
            # As `migrate` does: content types of renamed models are renamed back on this signal.
            emit_pre_migrate_signal(0, False, connection.alias, apps=apps, plan=plan)
            executor.migrate(None, plan)
        except Exception as error:  # noqa: BLE001 - a migration is the application's code, 2026-11-23
            connection.close()
            if not gave_up(error) or attempt == UNDO_ATTEMPTS:
                return graph.forwards_plan(key), "".join(traceback.format_exception_only(error)).strip()
        else:
            break
    return [], ""


def undo(done: list[Key]) -> tuple[list[Key], dict[Key, str]]:
    """Undo migrations, newest first. Return those undone, and those that stay with the reason."""
    undone: list[Key] = []
    stays: dict[Key, str] = {}
    for key in reversed(done):
        if key in stays:
            continue
        kept, why = unapply(key)
        if not kept:
            undone.append(key)
        for needed in reversed(kept):
            if needed in done:
                stays.setdefault(needed, why if needed == key else f"{named([key])} needs it")
    return undone, stays


def say_what_is_left(failed: list[Key], undone: list[Key], stays: dict[Key, str]) -> None:
    """Say what a run that failed has left in the database."""
    from django.db.migrations.loader import MigrationLoader
    from django.db.migrations.operations import DeleteModel, RemoveField

    migrations = MigrationLoader(None).disk_migrations
    transactional = connections[DEFAULT_DB_ALIAS].features.can_rollback_ddl
    partial = [key for key in failed if not (transactional and migrations[key].atomic)]
    emptied = [
        key
        for key in undone
        if any(isinstance(operation, DeleteModel | RemoveField) for operation in migrations[key].operations)
    ]
    if undone:
        say(f"Undone, newest first: {named(undone)}.")
    if emptied:
        say(f"What these had removed is there again, but without its data: {named(emptied)}.")
    if stays:
        say("These could not be undone and stay applied:")
        for key, why in stays.items():
            say(f"  {named([key])}: {why}")
        say(
            "The release before goes on with them if they only add something. Fix the failed migration and "
            "deploy again, which continues after them; or undo by hand what they have done."
        )
    if partial:
        say(f"{named(partial)} is no transaction: remove what it has left, such as an invalid index.")
    if not stays and not partial:
        say("The schema is as it was before." if undone else "Nothing was changed.")


def report(
    error: BaseException, release: str, seconds: float, planned: list[Key], unfinished: list[Key]
) -> bool:
    """Say what failed, and undo what was applied. Return whether nothing of it is left."""
    say(f"The database could not be migrated to release {release}, and the release before it still serves.")
    every = list(dict.fromkeys(unfinished + planned))
    try:
        done = applied(every)
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - settings or database may be what is broken, 2026-11-23
        say(reason(error))
        if every:
            say(f"The database cannot be asked what is applied: {failure}")
            say(f"Some of these may be: {named(every)}. Deploy again when it answers.")
        else:
            say("Nothing was changed.")
        return not every
    failed = [key for key in planned if key not in done][:1]
    if failed and gave_up(error):
        say(
            f"The migration {named(failed)} gave up: it had waited {seconds:g} s for a lock, and requests to "
            "the table wait behind it. Another transaction holds the lock: deploy again when that has ended, "
            "or raise django_app_migrate_lock_timeout."
        )
    elif failed:
        say(f"The migration {named(failed)} failed:")
    say(reason(error))
    undone, stays = undo(done)
    say_what_is_left(failed, undone, stays)
    return not stays


def main(release: str, lock_timeout: str, note_path: str) -> int:
    """Return the exit status: 0 if the database is migrated, else 1."""
    seconds = float(lock_timeout)
    planned: list[Key] = []
    with Path(note_path).open("a+") as note, ExitStack() as stack:
        if not lock(note):
            say(f"Another migration still runs after {PREDECESSOR_SECONDS:g} s: wait for it, or end it.")
            return 1
        unfinished = read(note, release)

        def remember(using: str, plan: list[tuple[Any, bool]], **_: object) -> None:
            """Note what is about to be applied. Called once for each app."""
            if not planned and plan:
                planned.extend((migration.app_label, migration.name) for migration, _ in plan)
                write(note, [release, *map(".".join, dict.fromkeys(unfinished + planned))])
                stack.enter_context(connections[using].execute_wrapper(patiently))

        pre_migrate.connect(remember)
        connection_created.connect(limit_waits(seconds), weak=False)
        try:
            manage("migrate", "--noinput", "--no-color", "--traceback")
        # SystemExit: a settings module or a manage.py may end the process.
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is reported, 2026-11-23
            pre_migrate.disconnect(remember)
            if report(error, release, seconds, planned, unfinished):
                write(note, [])
            return 1
        write(note, [])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
