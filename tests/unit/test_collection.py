"""The repository is a collection as well: it builds, and holds nothing that belongs to one clone."""

import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from inventory_runs import SECRETS
from repository import PROJECT, ROLES

BIN = PROJECT / ".venv/bin"
#: What a clone has besides the collection. Nobody who installs the collection uses it.
OF_A_CLONE = {
    "tests",
    "molecule",
    "bench",
    "scripts",
    "sample_app",
    "requirements",
    "inventories",
    "Makefile",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("built")
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "build", "--output-path", directory],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    (built,) = directory.glob("rootstock-stack-*.tar.gz")
    return built


class Controller:
    """A machine on which the collection is installed, and nothing is known of a clone."""

    def __init__(self, directory: Path, archive: Path) -> None:
        self.directory = directory
        # The collections that ours needs come with the package `ansible` of the environment.
        (packages,) = (PROJECT / ".venv/lib").glob("python3*/site-packages")
        (directory / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {directory}:{packages}\n")
        self.run("ansible-galaxy", "collection", "install", "--no-deps", "-p", str(directory), str(archive))

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / program, *arguments],
            cwd=self.directory,
            env=os.environ | {"ANSIBLE_CONFIG": str(self.directory / "ansible.cfg")},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Controller:
    return Controller(tmp_path_factory.mktemp("controller"), archive)


def test_the_collection_builds_without_secrets_and_local_files(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert {name.split("/")[1] for name in names if name.startswith("roles/") and "/" in name} == set(ROLES)
    local = (".vault-password", "/vault.yml/", ".venv", ".cache", ".git/", "__pycache__", ".mypy_cache")
    assert [name for name in names if any(part in f"/{name}/" for part in local)] == []
    assert {name.split("/")[0] for name in names} & (OF_A_CLONE | {".ci", ".config", "Makefile"}) == set()


def test_its_playbooks_run_from_another_directory(controller: Controller, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    groups = ("redis", "postgresql", "web", "workers", "beat", "flower")
    hosts: dict[str, Any] = {group: {"hosts": {"one": {}}} for group in groups}
    variables = {
        "app_name": "shop",
        "app_domain": "shop.example.org",
        "app_source": str(app),
        "app_settings_module": "shop.settings",
        "app_wsgi_module": "shop.wsgi",
        "app_celery_application": "shop",
        **{name: f"a-secret-for-{name}" for name in SECRETS},
    }
    one = {"ansible_host": "192.0.2.1", "ansible_user": "root"}
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"one": one}, "children": hosts, "vars": variables}}))
    preflight = ("-i", str(inventory), "rootstock.stack.preflight", "--skip-tags", "servers")
    done = controller.run("ansible-playbook", *preflight)
    assert done.returncode == 0, done.stdout + done.stderr
    for playbook in ("site", "deploy", "status", "rollback"):
        listed = controller.run(
            "ansible-playbook", "-i", str(inventory), f"rootstock.stack.{playbook}", "--list-tasks"
        )
        assert listed.returncode == 0, listed.stdout + listed.stderr


def test_its_roles_run_in_a_users_own_play(controller: Controller, tmp_path: Path) -> None:
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": [
            {
                "ansible.builtin.import_role": {"name": "rootstock.stack.generation", "tasks_from": "lock"},
                "vars": {"generation_app_name": "shop", "generation_first_host": "localhost"},
            },
            {
                "ansible.builtin.assert": {
                    "that": "generation_state.acquired and not generation_state.prepared"
                }
            },
        ],
    }
    path = tmp_path / "play.json"
    path.write_text(json.dumps([play]))
    # In check mode nothing is locked: it is looked at this very machine.
    done = controller.run("ansible-playbook", "-i", "localhost,", "--check", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_plugin_has_a_page(controller: Controller) -> None:
    pages = {
        "lookup": ["application_source"],
        "filter": ["environment_names", "serving_nodes", "status_report", "status_table"],
        "module": ["release_archive"],
    }
    for kind, names in pages.items():
        for name in names:
            done = controller.run("ansible-doc", "-t", kind, f"rootstock.stack.{name}")
            assert done.returncode == 0, done.stdout + done.stderr
            assert name in done.stdout
