"""Settings of Celery that the inventory gives, in applications that say nothing or something else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import PACKAGE, Stage, wait_for

GIVEN = {
    "task_acks_late": True,
    "result_expires": 600,
    "broker_transport_options": {"visibility_timeout": 60, "max_retries": 3},
}
OWN = {
    "task_acks_late": False,
    "broker_transport_options": {"visibility_timeout": 3600, "global_keyprefix": "shop:"},
}
#: Ways in which an application says what its settings are; SAID is a dictionary of them.
WAYS = {
    "nothing": "",
    "at once": "app.conf.update(SAID)",
    "before it is read": "for name, value in SAID.items(): setattr(app.conf, name, value)",
    "after it was read": "app.conf.timezone\nfor name, value in SAID.items(): app.conf[name] = value",
    "a module": "app.config_from_object(SAID)",
    "as Django": (
        "app.config_from_object("
        "{'CELERY_' + name.upper(): value for name, value in SAID.items()}, namespace='CELERY')"
    ),
    "old names": (
        "app.config_from_object({'CELERY_ACKS_LATE': False,"
        " 'BROKER_TRANSPORT_OPTIONS': SAID['broker_transport_options']})"
    ),
    "a class of its own": (
        "class Own(Celery):\n    def on_init(self): pass\n"
        "app = Own('other')\napp.conf.update(SAID)\nassert app.conf.timezone is None"
    ),
}
PROGRAM = """
import json, sys
from celery import Celery
SAID = {said!r}
app = Celery("one")
{way}
@app.task
def usual(): pass
@app.task(acks_late=False)
def early(): pass
app.finalize()
{more}
print(json.dumps([
    app.conf.task_acks_late, app.conf.get("result_expires") if {given} else None,
    app.conf["broker_transport_options"], usual.acks_late, early.acks_late,
    app.connection_for_write().transport_options,
]))
"""


def told(tmp_path: Path, way: str, given: dict[str, Any] | None, more: str = "") -> list[Any]:
    """Run an application; return settings of its, acks_late of its tasks, its broker's options."""
    done = subprocess.run(
        [sys.executable, "-m", "rootstock_worker.run", "python", "-"],
        input=PROGRAM.format(said=OWN, way=way, more=more, given=given),
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(PACKAGE.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"ROOTSTOCK_CELERY_SETTINGS": json.dumps(given)} if given else {}),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_they_win_over_the_applications_own(tmp_path: Path, way: str) -> None:
    prefix = {} if way == "nothing" else {"global_keyprefix": "shop:"}
    options = prefix | {"visibility_timeout": 60, "max_retries": 3}
    # What a task says itself is the application's own.
    assert told(tmp_path, WAYS[way], GIVEN) == [True, 600, options, True, False, options]
    own = {} if way == "nothing" else OWN["broker_transport_options"]
    assert told(tmp_path, WAYS[way], None) == [False, None, own, False, False, own], "without them"


@pytest.mark.parametrize("way", ["at once", "as Django"])
def test_what_an_application_adds_to_its_options_later_is_kept(tmp_path: Path, way: str) -> None:
    more = "app.conf.broker_transport_options['health_check_interval'] = 9\n"
    more += "app.conf.broker_transport_options['visibility_timeout'] = 7"
    found = told(tmp_path, WAYS[way], GIVEN, more)[2]
    assert found == {
        "global_keyprefix": "shop:",
        "visibility_timeout": 60,
        "max_retries": 3,
        "health_check_interval": 9,
    }


def test_options_that_two_settings_share_are_not_mixed(tmp_path: Path) -> None:
    own = {"visibility_timeout": 3600, "global_keyprefix": "shop:"}
    more = "assert app.conf.broker_transport_options['max_retries'] == 3\n"
    more += f"assert app.conf.result_backend_transport_options == {own}\n"
    way = "app.conf.update(SAID, result_backend_transport_options=SAID['broker_transport_options'])"
    told(tmp_path, way, GIVEN, more)


def test_options_that_an_application_sets_to_none(tmp_path: Path) -> None:
    found = told(tmp_path, "app.conf.broker_transport_options = None", GIVEN)
    assert found[2] == GIVEN["broker_transport_options"]


@pytest.mark.parametrize("namespace", ["", "1"])
@pytest.mark.parametrize("given", [True, False])
def test_a_task_of_an_application_that_says_nothing_is_done_again(
    stage: Stage, namespace: str, given: bool
) -> None:
    """A task outlives its worker if it is acknowledged late, which nothing but celery_settings says."""
    stage.environment |= {"VICTIM_ACKS_LATE": "", "VICTIM_NAMESPACE": namespace}
    if given:
        stage.environment["ROOTSTOCK_CELERY_SETTINGS"] = json.dumps({"task_acks_late": True})
    first = stage.worker("a")
    stage.send("record", "x", 20)
    wait_for(lambda: stage.begun("x") == 1, 15, "it runs")
    assert stage.held() == (1 if given else 0)
    first.kill()
    second = stage.worker("b")
    if given:
        wait_for(lambda: stage.begun("x") == 2, 20, "it runs again")
    else:
        # What is sent later has run: nothing came before it.
        stage.send("record", "y")
        wait_for(lambda: stage.done("y") == 1, 15, "the next one is done")
        second.says("succeeded")
        assert (stage.begun("x"), stage.done("x"), stage.held()) == (1, 0, 0)
