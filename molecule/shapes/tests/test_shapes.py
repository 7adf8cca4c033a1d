"""Every shape serves pages with static files, does tasks, caches, and sends what is due once."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from shapes import PACKAGES
from stack import PROJECT, Stack, ansible, ansible_vault, wait_for

VAULTS = PROJECT / "molecule/shapes/inventory/group_vars"
#: Seconds between two tasks of each schedule.
INTERVAL = 5


def assets(stack: Stack) -> list[str]:
    """Return the style sheets that the page names."""
    answer = stack.get("/")
    assert answer.status_code == 200, answer.text
    return re.findall(r'<link rel="stylesheet" href="([^"]+)"', answer.text)


def test_pages_come_with_their_static_files(stack: Stack) -> None:
    (path,) = assets(stack)
    answer = stack.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/css")
    assert re.search(r"font-family:\s*sans-serif", answer.text)


def test_a_worker_does_a_task_whose_result_is_kept(stack: Stack) -> None:
    answer = stack.session().post(stack.url("/jobs/"), data={"text": "one two three"}, timeout=30)
    assert answer.status_code == 202, answer.text
    path = f"/jobs/{answer.json()['id']}/"
    wait_for(lambda: stack.get(path).json() == {"state": "SUCCESS", "result": 3}, 30, "the task's result")


def test_the_cache_is_one_of_all_processes(stack: Stack) -> None:
    """What one process writes, Gunicorn's processes and a command find, and what is cleared is gone."""

    def visits() -> int:
        found = re.search(r"visits: (\d+)", stack.get("/").text)
        assert found
        return int(found.group(1))

    first = visits()
    assert [visits() for _ in range(6)] == list(range(first + 1, first + 7))
    code = (
        "from django.core.cache import cache\n"
        "before = cache.get('visits')\n"
        "cache.set('shape', 'kept', 60)\n"
        "kept = cache.get('shape')\n"
        "cache.clear()\n"
        "print(json.dumps([before, kept, cache.get('shape'), cache.get('visits')]))"
    )
    assert stack.python(code) == [first + 6, "kept", None, None]
    assert visits() == 1


def test_beat_sends_each_task_once_per_interval(stack: Stack) -> None:
    def ticks() -> list[float]:
        return list(stack.get("/ticks/").json()["ticks"])

    begun = max(ticks(), default=0)
    found = wait_for(
        lambda: (late := [tick for tick in ticks() if tick > begun])[4:] and late,
        12 * INTERVAL,
        "five more ticks",
    )
    mean = (found[-1] - found[0]) / (len(found) - 1)
    assert mean > 0.7 * INTERVAL, f"two beats would make it {INTERVAL / 2}: {found}"


def test_flower_shows_the_workers(stack: Stack) -> None:
    login = ("flower", ansible_vault(VAULTS / stack.app / "vault.yml")["vault_flower_password"])

    def online() -> set[str]:
        answer = stack.get("/flower/api/workers?status=true", auth=login)
        assert answer.status_code == 200
        return {name.split(".")[0] for name, is_online in answer.json().items() if is_online}

    wait_for(lambda: online() == {"default"}, 30, "Flower sees the worker")


def test_status_is_healthy(inventory: str, tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    ansible("-e", f"status_file={path}", inventory=inventory, playbook="status")
    found = json.loads(path.read_text())
    assert found["state"] == "healthy"
    assert {app["name"] for app in found["apps"]} == set(PACKAGES)


def test_redis_has_refused_nothing(host: Host, stacks: dict[str, Stack]) -> None:
    stack = stacks["cookie"]
    assert {port: stack.denied(port) for port in (6379, 6380)} == {6379: [], 6380: []}


# --- What only one of them has.


@pytest.mark.parametrize("name", ["cookie", "scheduled", "hardcoded", "older"])
def test_the_login_page_comes(stacks: dict[str, Stack], name: str) -> None:
    path = "/console/login/" if name == "cookie" else "/admin/login/"
    answer = stacks[name].get(path)
    assert answer.status_code == 200
    assert 'name="csrfmiddlewaretoken"' in answer.text


def test_the_style_sheet_of_cookie_is_compressed(stacks: dict[str, Stack]) -> None:
    (path,) = assets(stacks["cookie"])
    assert "/CACHE/css/" in path


def test_what_buildstep_has_made_is_served(stacks: dict[str, Stack]) -> None:
    page = stacks["buildstep"].get("/", headers={"Accept-Language": "de"})
    page.encoding = "utf-8"
    assert "<h1>Werkstatt der Wörter</h1>" in page.text
    assert re.search(r"/static/studio\.[0-9a-f]{12}\.css", page.text)


def setting(stack: Stack, expression: str) -> Any:
    return stack.python(f"from django.conf import settings\nprint(json.dumps({expression}))")


def test_the_settings_of_hardcoded_are_those_of_its_overlay(stacks: dict[str, Stack]) -> None:
    names = ["DEBUG", "ALLOWED_HOSTS"]
    found = setting(stacks["hardcoded"], f"[getattr(settings, name) for name in {names}]")
    assert found == [False, ["hardcoded.test"]]
    engine = setting(stacks["hardcoded"], "settings.DATABASES['default']['ENGINE']")
    assert engine == "django.db.backends.postgresql"


def test_the_file_of_packaged_is_for_itself_only(host: Host, stacks: dict[str, Stack]) -> None:
    file = host.file("/srv/packaged/current/pinboard.ini")
    assert (file.user, file.group, file.mode) == ("root", "packaged", 0o640)
    assert host.run("runuser -u older -- cat /srv/packaged/current/pinboard.ini").rc != 0
    assert setting(stacks["packaged"], "settings.SITE_NAME") == "Pinboard"


def test_scheduled_keeps_schedule_and_results_in_its_database(stacks: dict[str, Stack]) -> None:
    code = (
        "from django_celery_beat.models import PeriodicTask\n"
        "from django_celery_results.models import TaskResult\n"
        "print(json.dumps([PeriodicTask.objects.get(name='tick').total_run_count > 0,"
        " TaskResult.objects.filter(status='SUCCESS').exists()]))"
    )
    assert stacks["scheduled"].python(code) == [True, True]


def test_browsers_of_realtime_hear_each_other(stacks: dict[str, Stack]) -> None:
    """Two connections through Nginx, which two processes may have: the channel layer is between them."""
    stack = stacks["realtime"]
    code = (
        "import asyncio, ssl, websockets\n"
        "context = ssl.create_default_context(cafile='/etc/ssl/rootstock/realtime.crt')\n"
        "async def talk():\n"
        "    url = 'wss://realtime.test/ws/echo/'\n"
        "    open = lambda: websockets.connect(url, host='127.0.0.1', ssl=context)\n"
        "    async with open() as one, open() as two:\n"
        "        await one.send(json.dumps({'text': 'hello'}))\n"
        "        return [json.loads(await asyncio.wait_for(end.recv(), 20))['text'] for end in (one, two)]\n"
        "print(json.dumps(asyncio.run(talk())))"
    )
    assert stack.python(code) == ["hello", "hello"]


def test_the_versions_of_older_are_old(stacks: dict[str, Stack]) -> None:
    code = (
        "import celery, django, kombu, redis\n"
        "print(json.dumps(['.'.join(module.__version__.split('.')[:2]) for module in (celery, kombu, django)]"
        " + [redis.__version__.split('.')[0]]))"
    )
    assert stacks["older"].python(code) == ["5.3", "5.3", "4.2", "4"]
