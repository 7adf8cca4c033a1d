"""The lookup that tells what an application is from where its code is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError

from rendering import evaluate, trusted
from repository import PROJECT, source_module

plugin = source_module("plugins/lookup/application_source.py")

MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")'
Project = Callable[[Mapping[str, str]], dict[str, Any]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return what is told of a project with these files."""

    def describe(files: Mapping[str, str]) -> dict[str, Any]:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        found: dict[str, Any] = plugin.describe(str(tmp_path), "", tmp_path)
        return found

    return describe


def test_the_sample_app() -> None:
    assert plugin.describe(str(PROJECT / "sample_app"), "", PROJECT) == {
        "name": "sample-app",
        "source": str(PROJECT / "sample_app"),
        "git": False,
        "settings": "shop.settings",
        "wsgi": "shop.wsgi",
        "asgi": "",
        "celery": "shop",
        "queues": ["critical", "default", "low-priority"],
    }


def test_what_a_server_loads_names_the_settings_for_production(project: Project) -> None:
    found = project(
        {
            "manage.py": MANAGE.format("config.settings.local"),
            "config/wsgi.py": MANAGE.format("config.settings.production"),
            "config/asgi.py": "",
            "config/celery_app.py": 'app = Celery("blog")',
        }
    )
    assert (found["settings"], found["wsgi"], found["asgi"]) == (
        "config.settings.production",
        "config.wsgi",
        "config.asgi",
    )
    assert (found["celery"], found["queues"]) == ("config.celery_app", ["celery"])


def test_an_application_without_wsgi(project: Project) -> None:
    found = project({"chat/asgi.py": 'os.environ["DJANGO_SETTINGS_MODULE"] = "chat.settings"'})
    assert (found["settings"], found["wsgi"], found["asgi"]) == ("chat.settings", "", "chat.asgi")


def test_of_two_the_one_in_the_package_of_the_settings_is_meant(project: Project) -> None:
    files = {"manage.py": MANAGE.format("mine.settings"), "mine/wsgi.py": "", "example/wsgi.py": ""}
    assert project(files)["wsgi"] == "mine.wsgi"


def test_of_two_others_none_is_meant(project: Project) -> None:
    assert project({"one/wsgi.py": "", "other/wsgi.py": ""})["wsgi"] == ""


def test_environments_and_tests_of_the_project_are_not_looked_at(project: Project) -> None:
    worker = 'app = Celery("x")\nTASK = {"queue": "wrong"}\n'
    files = {
        ".venv/lib/a/celery.py": worker,
        "venv/lib/site-packages/b/celery.py": worker,
        "tests/c.py": worker,
    }
    found = project(files)
    assert (found["celery"], found["queues"]) == ("", ["celery"])


@pytest.mark.parametrize(
    ("text", "queues"),
    [
        ('CELERY_TASK_DEFAULT_QUEUE = "work"', ["work"]),
        ("app.conf.task_default_queue = 'work'", ["work"]),
        ('app.conf.update({"task_default_queue": "work"})', ["work"]),
        ('ROUTES = {"a.*": {"queue": "slow"}}', ["celery", "slow"]),
        ('QUEUES = [Queue("a"), Queue(name="b")]', ["a", "b", "celery"]),
        ("@shared_task(queue='mail')", ["celery", "mail"]),
        ("task.apply_async(queue=name)", ["celery"]),
    ],
)
def test_queues(text: str, queues: list[str], project: Project) -> None:
    assert project({"settings.py": text})["queues"] == queues


@pytest.mark.parametrize(
    ("source", "name", "git"),
    [
        ("https://git.example.net/team/My_Blog.git", "my-blog", True),
        ("git@git.example.net:blog.git", "blog", True),
        ("file:///srv/git/blog/", "blog", True),
        ("django-helpdesk[teams]==2.0.1", "django-helpdesk", False),
        ("", "", False),
        ("https://git.example.net/2048.git", "", True),
    ],
)
def test_code_that_is_elsewhere(source: str, name: str, git: bool) -> None:
    found = plugin.describe(source, "config.settings.production", PROJECT)
    assert (found["name"], found["git"], found["source"]) == (name, git, source)
    assert (found["settings"], found["wsgi"], found["celery"]) == (
        "config.settings.production",
        "config.wsgi",
        "config",
    )
    assert found["queues"] == ["celery"]


def test_without_settings_the_rest_follows_when_they_are_set() -> None:
    found = plugin.describe("blog==1.0", "", PROJECT)
    package = "{{ app_settings_module.split('.')[0] }}"
    assert (found["settings"], found["wsgi"], found["celery"]) == ("", f"{package}.wsgi", package)


def test_a_relative_path_leads_from_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code/shop").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "code")
    found = plugin.describe("shop", "", tmp_path / "inventories/production")
    assert found["source"] == "{{ inventory_dir }}/../../code/shop"


def test_a_path_never_keeps_the_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plugin.describe("~/shop", "", PROJECT)["source"] == str(tmp_path / "shop")


def test_a_path_that_is_no_directory_is_refused_with_the_way_to_mend_it() -> None:
    call = "{{ lookup('application_source', source, relative_to='.') }}"
    with pytest.raises(AnsibleError, match=r"No such file .*/none of this\. Give a directory"):
        evaluate(call, trusted({"source": "none of this"}))
