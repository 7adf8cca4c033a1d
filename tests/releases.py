"""Other releases of the sample app, good and broken ones, as copies that a test deploys.

Each function makes one below a directory and returns its path. What a copy replaces or extends must be there:
a change of the sample app breaks these functions, not what they stand for.
"""

import shutil
from pathlib import Path

from repository import PROJECT

SAMPLE = PROJECT / "sample_app"

# The newest migration of the app whose schema is changed here.
_LAST_MIGRATION = "0001_initial"
_MIGRATION = """from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "{after}")]

    operations = [{operation}]
"""


def variant(directory: Path, name: str) -> Path:
    """A copy of the sample app as it is: the same release."""
    path = directory / name
    shutil.copytree(SAMPLE, path, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    return path


def good(directory: Path, tag: str) -> Path:
    """Another release that does the same."""
    path = variant(directory, f"good-{tag}")
    (path / "VERSION").write_text(f"{tag}\n")
    return path


def new_assets(directory: Path, tag: str) -> Path:
    """Another release whose style sheet has another content, so that pages name it differently."""
    path = variant(directory, f"assets-{tag}")
    _append(path / "assets/shop.css", f"/* {tag} */\n")
    return path


def good_migration(directory: Path, tag: str) -> Path:
    """A release with one more column, which may be empty; the tag must be an identifier."""
    path = variant(directory, f"good-migration-{tag}")
    field = "models.CharField(max_length=20, null=True)"
    _replace(
        path / "orders/models.py",
        "    amount = models.PositiveIntegerField()\n    email",
        f"    amount = models.PositiveIntegerField()\n    {tag} = {field}\n    email",
    )
    _migration(path, f"0002_{tag}", f'migrations.AddField("order", "{tag}", {field})')
    return path


def failing_migration(directory: Path) -> Path:
    """Two migrations: the first changes the schema, the second fails."""
    path = variant(directory, "failing-migration")
    _migration(
        path, "0002_note", 'migrations.AddField("order", "note", models.CharField(max_length=20, null=True))'
    )
    _migration(
        path,
        "0003_fails",
        'migrations.RunSQL("ALTER TABLE orders_order DROP COLUMN no_such_column", migrations.RunSQL.noop)',
        after="0002_note",
    )
    return path


def import_error(directory: Path) -> Path:
    """The URLs import a module that cannot be imported."""
    path = variant(directory, "import-error")
    _append(path / "reports/views.py", "\nimport no_such_module\n")
    return path


def settings_error(directory: Path) -> Path:
    """The settings cannot be imported."""
    path = variant(directory, "settings-error")
    _append(path / "shop/settings/services.py", '\nraise ValueError("settings that cannot be")\n')
    return path


def error_500(directory: Path) -> Path:
    """All is well but readiness, which answers 500."""
    path = variant(directory, "error-500")
    _replace(path / "operations/views.py", _READYZ, _READYZ + '    raise RuntimeError("not ready at all")\n')
    return path


def page_error(directory: Path) -> Path:
    """Ready, but the first page answers 500."""
    path = variant(directory, "page-error")
    _replace(
        path / "orders/views.py",
        "    form = OrderForm(request.POST or None)\n",
        '    raise RuntimeError("this page cannot be shown")\n',
    )
    return path


def cache_on_broker(directory: Path) -> Path:
    """The cache is in the database of the broker."""
    path = variant(directory, "cache-on-broker")
    _replace(path / "shop/settings/database.py", 'env.str("CACHE_URL")', 'env.str("CELERY_BROKER_URL")')
    return path


def denied_command(directory: Path) -> Path:
    """Asks Redis for what it may not ask for, and hides that it was refused."""
    path = variant(directory, "denied-command")
    _replace(
        path / "operations/apps.py",
        '        import_module("operations.failures")\n',
        '        import_module("operations.failures")\n'
        "        from contextlib import suppress\n\n"
        "        from django.core.cache import cache\n\n"
        "        with suppress(Exception):\n"
        '            cache._cache.get_client(write=True).config_get("save")\n',
    )
    return path


def broken_on(directory: Path, host: str) -> Path:
    """Well everywhere but on one host, where readiness answers 500."""
    path = variant(directory, f"broken-on-{host}")
    _replace(
        path / "operations/views.py",
        _READYZ,
        _READYZ
        + "    import socket\n\n"
        + f"    if socket.gethostname() == {host!r}:\n"
        + '        raise RuntimeError("not ready here")\n',
    )
    return path


def never_ready(directory: Path) -> Path:
    """All is well but readiness, which never answers."""
    path = variant(directory, "never-ready")
    _replace(
        path / "operations/views.py",
        _READYZ,
        _READYZ + "    import threading\n\n    threading.Event().wait()\n",
    )
    return path


def worker_cannot_start(directory: Path) -> Path:
    """Loads everywhere, but a worker ends while it starts."""
    path = variant(directory, "worker-cannot-start")
    _append(
        path / "shop/celery.py",
        """

from celery.signals import worker_init


@worker_init.connect
def refuse(**_: object) -> None:
    raise SystemExit("this worker cannot start")
""",
    )
    return path


def unconsumed_queue(directory: Path) -> Path:
    """A route leads into a queue that no pool consumes."""
    path = variant(directory, "unconsumed-queue")
    _replace(
        path / "shop/settings/celery.py",
        '    "reports.tasks.*": {"queue": "low-priority"},\n',
        '    "reports.tasks.*": {"queue": "bulk"},\n',
    )
    return path


_READYZ = "def readyz(request: HttpRequest) -> HttpResponse:\n"


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has {text.count(old)} times: {old}"
    path.write_text(text.replace(old, new))


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        assert file.tell(), f"{path} is new or empty"
        file.write(text)


def _migration(path: Path, name: str, operation: str, after: str = _LAST_MIGRATION) -> None:
    migrations = path / "orders/migrations"
    newest = max(file.stem for file in migrations.glob("0*.py"))
    assert newest == after, f"the newest migration is {newest}"
    (migrations / f"{name}.py").write_text(_MIGRATION.format(after=after, operation=operation))
