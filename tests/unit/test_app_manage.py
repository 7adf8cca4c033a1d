"""The management command of a server: with what the live programs have loaded, if they have."""

import json
import shutil
from pathlib import Path

import pytest

import application
from rendering import render, variables_of
from repository import PROJECT
from server import Server, executable

TEMPLATE = PROJECT / "roles/django_app/templates/usr/local/bin/app-manage.j2"
SAYS = """import json, os, sys
from celery import Celery
late = Celery("shop").conf.task_acks_late
print(json.dumps([sys.argv, late, os.environ["SECRET"]]))
"""
SETTINGS = json.dumps({"task_acks_late": True})


@pytest.fixture
def host(tmp_path: Path) -> Server:
    """A server with a release, its environment, and a package that programs of a generation load."""
    server = Server(tmp_path)
    tool = server.root / "usr/local/lib/rootstock/with-env"
    shutil.copy(PROJECT / "roles/supervisor/files/with-env", tool)
    tool.chmod(0o755)
    (server.root / "etc/shop/app.env").write_text(f"SECRET=x\nROOTSTOCK_CELERY_SETTINGS='{SETTINGS}'\n")
    release = server.put("one", {"manage.py": SAYS})
    (release / ".venv").symlink_to(application.python().parent.parent)
    (server.root / "srv/shop/current").symlink_to("releases/one")
    executable(server.root / "bin/runuser", 'shift 3; exec "$@"')
    (server.root / "usr/local/lib/rootstock/python").mkdir()
    (server.root / "usr/local/lib/rootstock/python/0a1b2c").symlink_to(PROJECT / "roles/celery/files")
    variables = variables_of("django_app") | {"django_app_name": "shop", "django_app_source": ""}
    (server.root / "manage").write_text(render(TEMPLATE, variables))
    return server


@pytest.mark.parametrize("place", ["conf.d", "rootstock"])
def test_it_has_what_the_live_programs_have(host: Server, place: str) -> None:
    (host.root / "srv/shop/generation").write_text("aaaaaaaa\n")
    package = f"{host.root}/usr/local/lib/rootstock/python/0a1b2c"
    stanza = f'[program:x]\nenvironment=PYTHONPATH="{package}"\n'
    (host.root / f"etc/supervisor/{place}/shop.aaaaaaaa.conf").write_text(stanza)
    (line,) = host.run(host.root / "manage", "check", "--tag", "a b")
    assert json.loads(line) == [["manage.py", "check", "--tag", "a b"], True, "x"]


@pytest.mark.parametrize("generation", ["aaaaaaaa", ""])
def test_it_runs_where_no_program_has_loaded_anything(host: Server, generation: str) -> None:
    if generation:
        (host.root / "srv/shop/generation").write_text(generation)
        (host.root / f"etc/supervisor/conf.d/shop.{generation}.conf").write_text("[program:x]\n")
    (line,) = host.run(host.root / "manage", "check")
    assert json.loads(line)[:2] == [["manage.py", "check"], False]
