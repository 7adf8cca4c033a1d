"""A release whose migrations fail, with the deployment's own script and PostgreSQL. No worker runs."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests import stack

SCRIPT = Path(os.environ["MIGRATE_SCRIPT"])
PROGRAMS = max(Path("/usr/lib/postgresql").iterdir()) / "bin"
MIGRATION = """
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "{after}")]
    atomic = {atomic}
    operations = [{operation}]
"""
ADD = 'migrations.AddField("order", "{0}", models.TextField(null=True, db_index=True))'
SQL = "migrations.RunSQL({0!r}, {1!r})"
INDEX = 'AddIndexConcurrently("order", models.Index(fields=["email"], name="by_email"))'


class Release:
    """A copy of the project that gets migrations, and a database that is migrated to where it begins."""

    def __init__(self, directory: Path, template: str = "template1") -> None:
        self.source = directory / "release"
        self.note = directory / "migration"
        self.name = f"release_{uuid.uuid4().hex}"
        server = f"127.0.0.1:{stack.POSTGRESQL_PORT}"
        self.url = f"postgresql://shop@{server}/{self.name}"
        shutil.copytree(stack.SOURCE, self.source, ignore=shutil.ignore_patterns("tests", "static", ".*"))
        with psycopg.connect(f"postgresql://shop@{server}/shop", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self.name} TEMPLATE {template}")

    def add(self, *operations: str, atomic: bool = True) -> list[str]:
        """Appends a migration for each operation to those of the orders. Returns their names."""
        names = []
        for operation in operations:
            directory = self.source / "orders/migrations"
            after = max(directory.glob("[0-9]*.py")).stem
            names.append(f"{int(after[:4]) + 1:04}")
            text = MIGRATION.format(after=after, operation=operation, atomic=atomic)
            (directory / f"{names[-1]}.py").write_text(text)
        return names

    def start(self, seconds: float = 5) -> "subprocess.Popen[str]":
        with SCRIPT.open() as script:
            return subprocess.Popen(
                [sys.executable, "-", "abc", str(seconds), self.note],
                stdin=script,
                cwd=self.source,
                env=os.environ | {"DATABASE_URL": self.url},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def migrate(self, seconds: float = 5) -> "subprocess.CompletedProcess[str]":
        process = self.start(seconds)
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def schema(self) -> list[str]:
        dump = [PROGRAMS / "pg_dump", "--schema-only", self.url]
        text = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
        # Newer ones open and close with a random key.
        return [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.url, autocommit=True)

    def waits(self, statement: str) -> bool:
        """Whether another session runs a statement that begins so."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND query LIKE %s"
        )
        with self.connect() as connection:
            return connection.execute(query, [self.name, f"{statement}%"]).fetchone() != (0,)


@pytest.fixture(scope="module")
def template(servers: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    release = Release(tmp_path_factory.mktemp("template"))
    assert release.migrate().returncode == 0
    return release.name


@pytest.fixture
def release(template: str, tmp_path: Path) -> Iterator[Release]:
    release = Release(tmp_path, template)
    yield release
    with psycopg.connect(stack.ENVIRONMENT["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {release.name} WITH (FORCE)")


def test_the_third_of_three_fails_and_the_schema_is_as_before(release: Release) -> None:
    before = release.schema()
    first, second, third = release.add(
        ADD.format("note"),
        SQL.format("CREATE TABLE extra (id integer)", "DROP TABLE extra"),
        SQL.format("ALTER TABLE nowhere ADD a integer", ""),
    )
    done = release.migrate()
    assert done.returncode == 1
    assert f"The migration orders.{third} failed:\n" in done.stderr
    assert 'ProgrammingError: relation "nowhere" does not exist\n' in done.stderr
    assert f"Undone, newest first: orders.{second}, orders.{first}.\n" in done.stderr
    assert len(done.stderr.splitlines()) < 8
    assert release.schema() == before


def test_what_cannot_be_undone_is_named(release: Release) -> None:
    first, second, _ = release.add(
        ADD.format("note"),
        "migrations.RunSQL('CREATE TABLE extra (id integer)')",
        SQL.format("ALTER TABLE nowhere ADD a integer", ""),
    )
    done = release.migrate()
    assert done.returncode == 1
    assert f"\n  orders.{second}: django.db.migrations.exceptions.IrreversibleError: " in done.stderr
    assert f"\n  orders.{first}: orders.{second} needs it\n" in done.stderr
    assert "CREATE TABLE public.extra (" in release.schema()


@pytest.mark.parametrize("own_options", [False, True])
def test_a_lock_that_is_held_is_not_waited_for(release: Release, own_options: bool) -> None:
    if own_options:
        with (release.source / "shop/settings/database.py").open("a") as settings:
            settings.write('DATABASES["default"]["OPTIONS"]["options"] = "-c statement_timeout=60s"\n')
    before = release.schema()
    _, second = release.add(
        SQL.format("CREATE TABLE extra (id integer)", "DROP TABLE extra"), ADD.format("note")
    )
    with closing(release.connect()) as reader:
        reader.execute("BEGIN")
        reader.execute("LOCK TABLE orders_order IN ACCESS SHARE MODE")
        done = release.migrate(0.5)
        assert done.returncode == 1
        assert f"The migration orders.{second} gave up: it had waited 0.5 s for a lock" in done.stderr
        assert "canceling statement due to lock timeout" in done.stderr
        assert "The schema is as it was before." in done.stderr
        assert release.schema() == before
    assert release.migrate(0.5).returncode == 0
    assert release.schema() != before


def test_without_a_limit_it_waits(release: Release) -> None:
    release.add(ADD.format("note"))
    with closing(release.connect()) as reader:
        reader.execute("BEGIN")
        reader.execute("LOCK TABLE orders_order IN ACCESS SHARE MODE")
        process = release.start(0)
        stack.wait_for(lambda: release.waits("ALTER TABLE"), 30, "the migration waits")
        reader.execute("COMMIT")
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


def test_an_index_that_is_made_concurrently_waits_as_long_as_it_takes(release: Release) -> None:
    release.add(INDEX, atomic=False)
    # The limit holds again for what comes after it.
    release.add(SQL.format("DO $$ BEGIN ASSERT current_setting('lock_timeout') = '500ms'; END $$", ""))
    with closing(release.connect()) as writer:
        writer.execute("BEGIN")
        writer.execute("LOCK TABLE orders_order IN ROW EXCLUSIVE MODE")
        process = release.start(0.5)
        stack.wait_for(lambda: release.waits("CREATE INDEX CONCURRENTLY"), 30, "the index waits")
        # Longer than the limit.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        writer.execute("COMMIT")
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    with release.connect() as connection:
        invalid = "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid"
        assert connection.execute(invalid).fetchall() == []


def test_a_run_that_is_killed_does_not_keep_its_locks(release: Release) -> None:
    _, name = release.add(ADD.format("note"), SQL.format("LOCK TABLE orders_order; SELECT pg_sleep(600)", ""))
    process = release.start()
    stack.wait_for(lambda: release.waits("LOCK TABLE orders_order; SELECT"), 30, "the statement runs")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    stack.wait_for(lambda: not release.waits("LOCK TABLE orders_order; SELECT"), 10, "the server gave it up")
    last = release.source / "orders/migrations" / f"{name}.py"
    last.write_text(last.read_text().replace("600", "0"))
    assert release.migrate().returncode == 0
    assert "No migrations to apply" in release.migrate().stdout


def test_two_runs_at_once_apply_each_migration_once(release: Release) -> None:
    release.add(SQL.format("CREATE TABLE extra (id integer); SELECT pg_sleep(1)", ""), ADD.format("note"))
    outputs: list[str] = []
    runs = [release.start() for _ in range(2)]
    readers = [threading.Thread(target=lambda run=run: outputs.append(run.communicate()[0])) for run in runs]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert [run.returncode for run in runs] == [0, 0]
    assert sorted("No migrations to apply" in output for output in outputs) == [False, True]
