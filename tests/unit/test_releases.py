"""Each variant of the sample app differs from it as its name says, and in nothing else."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

import releases
from releases import SAMPLE

VARIANTS: dict[str, tuple[Callable[[Path], Path], dict[str, str]]] = {
    "same": (lambda path: releases.variant(path, "same"), {}),
    "good": (lambda path: releases.good(path, "a"), {"VERSION": "a\n"}),
    "new assets": (lambda path: releases.new_assets(path, "a"), {"assets/shop.css": "/* a */"}),
    "good migration": (
        lambda path: releases.good_migration(path, "extra"),
        {
            "orders/models.py": "    extra = models.",
            "orders/migrations/0002_extra.py": 'AddField("order", "extra"',
        },
    ),
    "failing migration": (
        releases.failing_migration,
        {
            "orders/migrations/0002_note.py": 'dependencies = [("orders", "0001_initial")]',
            "orders/migrations/0003_fails.py": 'dependencies = [("orders", "0002_note")]',
        },
    ),
    "import error": (releases.import_error, {"reports/views.py": "import no_such_module"}),
    "settings error": (releases.settings_error, {"shop/settings/services.py": "raise ValueError("}),
    "500": (releases.error_500, {"operations/views.py": "    raise RuntimeError("}),
    "never ready": (releases.never_ready, {"operations/views.py": "threading.Event().wait()"}),
    "worker": (releases.worker_cannot_start, {"shop/celery.py": "    raise SystemExit("}),
    "queue": (releases.unconsumed_queue, {"shop/settings/celery.py": '"reports.tasks.*": {"queue": "bulk"}'}),
}


def files(root: Path) -> dict[str, str]:
    """Return the texts below a directory by path, without what only this machine has."""
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.endswith(("_cache", "__")) for part in path.parts)
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_differs_as_intended_and_compiles(name: str, tmp_path: Path) -> None:
    make, intended = VARIANTS[name]
    sample, made = files(SAMPLE), files(make(tmp_path))
    assert sample
    assert sample.keys() <= made.keys()
    assert {path for path, text in made.items() if sample.get(path) != text} == intended.keys()
    for path, part in intended.items():
        assert part in made[path]
        assert part not in sample.get(path, "")
        if path.endswith(".py"):
            ast.parse(made[path])


def test_tags_make_different_releases(tmp_path: Path) -> None:
    for make in (releases.good, releases.new_assets, releases.good_migration):
        assert files(make(tmp_path, "a")) != files(make(tmp_path, "b"))


def test_what_is_replaced_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("b")
    with pytest.raises(AssertionError, match="has 0 times: a"):
        releases._replace(file, "a", "c")


def test_a_new_migration_of_the_sample_app_is_noticed(tmp_path: Path) -> None:
    path = releases.good_migration(tmp_path, "extra")
    with pytest.raises(AssertionError, match="the newest migration is 0002_extra"):
        releases._migration(path, "0002_other", "")
