"""migrate.py with the real Django and SQLite; the sample app's tests try it with PostgreSQL."""

import fcntl
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

import application
from repository import PROJECT

SOURCE = PROJECT / "roles/django_app/files/migrate.py"
MANAGE = """
import sys
from django.core.management import execute_from_command_line
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""
SETTINGS = """
INSTALLED_APPS = ["django.contrib.contenttypes", "shop", "extra"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database"}}
"""
MODELS = """
from django.db import models
class Thing(models.Model):
    class Meta:
        managed = False
"""
MIGRATION = """
from django.db import migrations, models
def fail(apps, editor):
    raise ValueError("the data are not as they should be")
def nothing(apps, editor):
    pass
class Migration(migrations.Migration):
    dependencies = {dependencies}
    atomic = {atomic}
    operations = [{operations}]
"""
CREATE = 'migrations.CreateModel("Item", [("id", models.AutoField(primary_key=True))])'
FAILS = "migrations.RunPython(fail)"
IRREVERSIBLE = "migrations.RunPython(nothing)"
KILLED = 'migrations.RunPython(lambda apps, editor: __import__("os").kill(__import__("os").getpid(), 9))'


def column(name: str) -> str:
    return f'migrations.AddField("item", "{name}", models.IntegerField(null=True))'


class Project:
    """A Django project with two apps, shop and extra, and an empty database."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.note = directory / "note"
        (directory / "manage.py").write_text(MANAGE)
        (directory / "settings.py").write_text(SETTINGS)
        for app in ("shop", "extra"):
            (directory / app / "migrations").mkdir(parents=True)
            (directory / app / "migrations/__init__.py").touch()
            (directory / app / "__init__.py").touch()
            (directory / app / "models.py").write_text(MODELS)

    def add(self, key: str, *operations: str, after: tuple[str, ...] = (), atomic: bool = True) -> None:
        """Add a migration, named app.name, that needs others named so."""
        app, _, name = key.partition(".")
        dependencies = [tuple(other.split(".")) for other in after]
        (self.directory / app / "migrations" / f"{name}.py").write_text(
            MIGRATION.format(dependencies=dependencies, operations=", ".join(operations), atomic=atomic)
        )

    def remove(self, key: str) -> None:
        app, _, name = key.partition(".")
        (self.directory / app / "migrations" / f"{name}.py").unlink()

    def migrate(self, release: str = "aaa", **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the script as the role does."""
        return subprocess.run(
            [application.python(), "-", release, "5", self.note],
            input=SOURCE.read_text(),
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "DJANGO_SETTINGS_MODULE": "settings",
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            | environment,
            capture_output=True,
            text=True,
        )

    def fails(self, release: str = "aaa", **environment: str) -> str:
        done = self.migrate(release, **environment)
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) < 12
        return done.stderr

    def ask(self, query: str) -> list[Any]:
        connection = sqlite3.connect(self.directory / "database")
        try:
            return [row[0] for row in connection.execute(query)]
        finally:
            connection.close()

    def applied(self) -> list[str]:
        return self.ask(
            "SELECT app || '.' || name FROM django_migrations WHERE app <> 'contenttypes' ORDER BY id"
        )

    def columns(self) -> set[str]:
        return set(self.ask("SELECT name FROM pragma_table_info('shop_item')"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project whose first migration is applied."""
    project = Project(tmp_path)
    project.add("shop.0001", CREATE)
    assert project.migrate().returncode == 0
    return project


def test_migrations_are_applied_once(project: Project) -> None:
    project.add("shop.0002", column("a"), after=("shop.0001",))
    first = project.migrate()
    assert (first.returncode, first.stderr) == (0, "")
    assert "Applying shop.0002... OK" in first.stdout
    assert project.columns() == {"id", "a"}
    second = project.migrate()
    # The role tells by this whether anything has changed.
    assert (second.returncode, "No migrations to apply" in second.stdout) == (0, True)
    assert project.note.read_text() == ""


def test_an_application_without_manage_py_is_migrated(project: Project) -> None:
    (project.directory / "manage.py").unlink()
    project.add("shop.0002", column("a"), after=("shop.0001",))
    done = project.migrate()
    assert (done.returncode, done.stderr) == (0, "")
    assert project.columns() == {"id", "a"}
    project.add("shop.0003", FAILS, after=("shop.0002",))
    assert (
        "The migration shop.0003 failed:\nValueError: the data are not as they should be\n  at "
        in project.fails()
    )


def test_what_a_failed_run_has_applied_is_undone(project: Project) -> None:
    project.add("shop.0002", column("a"), after=("shop.0001",))
    project.add("extra.0001", "migrations.RunPython(nothing, nothing)", after=("shop.0002",))
    project.add("shop.0003", column("b"), FAILS, after=("shop.0002", "extra.0001"))
    message = project.fails()
    assert "migrated to release aaa, and the release before it still serves" in message
    assert "The migration shop.0003 failed:\nValueError: the data are not as they should be\n  at " in message
    assert "0003.py:4: raise ValueError" in message
    assert message.endswith("Undone, newest first: extra.0001, shop.0002.\nThe schema is as it was before.\n")
    assert project.applied() == ["shop.0001"]
    assert project.columns() == {"id"}
    # What failed for a passing reason is simply run again.
    project.add("shop.0003", column("b"), after=("shop.0002", "extra.0001"))
    assert project.migrate().returncode == 0
    assert project.columns() == {"id", "a", "b"}


def test_a_first_migration_that_fails_changes_nothing(project: Project) -> None:
    project.add("shop.0002", column("a"), FAILS, after=("shop.0001",))
    assert project.fails().endswith("\nNothing was changed.\n")
    assert project.columns() == {"id"}


def test_what_cannot_be_undone_stays_with_what_it_needs(project: Project) -> None:
    project.add("shop.0002", column("a"), after=("shop.0001",))
    project.add("shop.0003", IRREVERSIBLE, after=("shop.0002",))
    project.add("shop.0004", column("b"), after=("shop.0003",))
    project.add("extra.0001", "migrations.RunPython(nothing, nothing)")
    project.add("shop.0005", FAILS, after=("shop.0004", "extra.0001"))
    message = project.fails()
    assert "Undone, newest first: shop.0004, extra.0001.\n" in message
    assert "stay applied:\n  shop.0003: django.db.migrations.exceptions.IrreversibleError: " in message
    assert "\n  shop.0002: shop.0003 needs it\n" in message
    assert "as it was before" not in message
    assert project.applied() == ["shop.0001", "shop.0002", "shop.0003"]
    assert project.columns() == {"id", "a"}


def test_a_branch_that_was_there_before_is_not_undone(project: Project) -> None:
    project.add("shop.0002_theirs", column("theirs"), after=("shop.0001",))
    assert project.migrate().returncode == 0
    project.add("shop.0002_ours", column("ours"), after=("shop.0001",))
    project.add("shop.0003_merge", after=("shop.0002_theirs", "shop.0002_ours"))
    project.add("shop.0004", FAILS, after=("shop.0003_merge",))
    assert "Undone, newest first: shop.0003_merge, shop.0002_ours." in project.fails()
    assert project.columns() == {"id", "theirs"}


def test_it_is_said_when_data_are_gone(project: Project) -> None:
    project.add("shop.0002", column("a"), after=("shop.0001",))
    assert project.migrate().returncode == 0
    project.add("shop.0003", 'migrations.RemoveField("item", "a")', after=("shop.0002",))
    project.add("shop.0004", FAILS, after=("shop.0003",))
    assert "is there again, but without its data: shop.0003." in project.fails()
    assert project.columns() == {"id", "a"}


def test_what_is_no_transaction_may_leave_something(project: Project) -> None:
    project.add("shop.0002", column("a"), FAILS, after=("shop.0001",), atomic=False)
    message = project.fails()
    assert "shop.0002 is no transaction: remove what it has left" in message
    assert "Nothing was changed" not in message
    assert project.columns() == {"id", "a"}


def test_a_run_that_was_killed_is_continued(project: Project) -> None:
    project.add("shop.0002", column("a"), after=("shop.0001",))
    project.add("shop.0003", KILLED, after=("shop.0002",))
    assert project.migrate().returncode == -9
    assert project.columns() == {"id", "a"}
    project.add("shop.0003", column("b"), after=("shop.0002",))
    assert project.migrate().returncode == 0
    assert project.columns() == {"id", "a", "b"}
    assert project.note.read_text() == ""


def killed_after_one(project: Project) -> None:
    project.add("shop.0002", column("a"), after=("shop.0001",))
    project.add("shop.0003", KILLED, after=("shop.0002",))
    assert project.migrate().returncode == -9
    assert project.columns() == {"id", "a"}
    project.add("shop.0003", FAILS, after=("shop.0002",))


def test_what_a_killed_run_has_applied_is_undone_as_well(project: Project) -> None:
    killed_after_one(project)
    assert "Undone, newest first: shop.0002." in project.fails()
    assert project.columns() == {"id"}
    assert project.note.read_text() == ""


def test_another_release_does_not_undo_what_a_killed_run_has_applied(project: Project) -> None:
    killed_after_one(project)
    # Another release may be what needs it by now.
    assert project.fails("bbb").endswith("\nNothing was changed.\n")
    assert project.columns() == {"id", "a"}


def test_a_killed_undo_is_finished(project: Project) -> None:
    project.add("shop.0002", column("a"), after=("shop.0001",))
    killed = KILLED.replace("RunPython(", "RunPython(nothing, ")
    project.add("shop.0003", column("b"), killed, after=("shop.0002",))
    project.add("shop.0004", FAILS, after=("shop.0003",))
    assert project.migrate().returncode == -9
    project.add("shop.0003", column("b"), "migrations.RunPython(nothing, nothing)", after=("shop.0002",))
    assert "Undone, newest first: shop.0003, shop.0002." in project.fails()
    assert project.columns() == {"id"}


def test_a_run_waits_for_the_one_before(project: Project) -> None:
    with project.note.open("a+") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        with subprocess.Popen(
            [
                application.python(),
                "-c",
                SOURCE.read_text().replace("= 600.0", "= 0.5"),
                "aaa",
                "5",
                project.note,
            ],
            cwd=project.directory,
            env={"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "settings"},
            stderr=subprocess.PIPE,
            text=True,
        ) as run:
            _, message = run.communicate(timeout=60)
    assert run.returncode == 1
    assert message == "Another migration still runs after 0.5 s: wait for it, or end it.\n"


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [
        ("settings.py", "raise RuntimeError('no such service')", "RuntimeError: no such service\n  at "),
        ("settings.py", "raise SystemExit('not here')", "SystemExit: not here\n"),
        ("manage.py", "raise SystemExit(0)", None),
        ("shop/models.py", "import gone", "ModuleNotFoundError: No module named 'gone'\n  at "),
    ],
)
def test_what_ends_before_any_migration(project: Project, file: str, code: str, message: str | None) -> None:
    with (project.directory / file).open("a") as source:
        source.write(f"\n{code}\n")
    if message is None:
        assert project.migrate().returncode == 0
    else:
        text = project.fails()
        assert message in text
        assert text.endswith("\nNothing was changed.\n")


def test_conflicting_migrations_are_djangos_own_message(project: Project) -> None:
    project.add("shop.0002_a", after=("shop.0001",))
    project.add("shop.0002_b", after=("shop.0001",))
    assert "CommandError: Conflicting migrations detected" in project.fails()
