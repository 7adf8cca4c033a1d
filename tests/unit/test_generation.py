"""The name of a generation, what is refused of its programs, and what stops first on a small host."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from rendering import evaluate, trusted, variables_of
from repository import PROJECT, specs

ROLE = PROJECT / "roles/generation"
TEMPLATE = PROJECT / "templates/supervisor_programs.conf.j2"
COMMON = {"directory": "/srv/shop", "user": "shop", "log_file": "/var/log/shop/{generation}.log"}
WEB = {"name": "shop-web.{generation}", "command": "gunicorn --bind web.{generation}.sock", **COMMON}
WORKER = {"name": "shop-worker-default.{generation}", "command": "celery worker", **COMMON}
BEAT = {"name": "shop-beat", "command": "celery beat", **COMMON}


def value(name: str, **given: Any) -> Any:
    """Return a variable of the role, with the given ones and a host on which there is nothing."""
    state = {"live": "", "generations": [], "programs": {}, **given.pop("state", {})}
    variables = {
        "generation_app_name": "shop",
        "generation_programs": [WEB, WORKER],
        "generation_single_programs": [BEAT],
        "generation_state": state,
        "ansible_search_path": [str(ROLE)],
        **given,
    }
    return evaluate(f"{{{{ {name} }}}}", variables_of("generation") | trusted(variables))


def name(**given: Any) -> str:
    return str(value("__generation_name", **given))


CONTENT = name()


def test_a_generation_is_named_after_its_content() -> None:
    assert re.fullmatch("[0-9a-f]{8}", CONTENT)
    assert name() == CONTENT


@pytest.mark.parametrize(
    "change",
    [
        {"generation_programs": [{**WEB, "stopwaitsecs": 31}, WORKER]},
        {"generation_programs": [{**WEB, "env_files": ["/etc/shop/app.0123456789ab.env"]}, WORKER]},
        {"generation_single_programs": [{**BEAT, "directory": "/srv/other"}]},
        {"generation_single_programs": []},
    ],
    ids=["web", "configuration", "beat", "no beat"],
)
def test_another_content_is_another_generation(change: dict[str, Any]) -> None:
    assert name(**change) != CONTENT


def test_another_template_is_another_generation(tmp_path: Path) -> None:
    """The stanza is part of how a program runs."""
    other = tmp_path / "other.j2"
    shutil.copy(TEMPLATE, other)
    assert name(__generation_template=str(other)) == CONTENT
    other.write_text(TEMPLATE.read_text() + "# more\n")
    assert name(__generation_template=str(other)) != CONTENT


@pytest.mark.parametrize("live", [CONTENT, f"{CONTENT}-2"])
def test_the_live_one_of_the_same_content_is_the_one(live: str) -> None:
    # Both are there when a run was killed before it retired the other.
    both = [CONTENT, f"{CONTENT}-2"]
    programs = dict.fromkeys([f"shop-web.{generation}" for generation in both], "RUNNING")
    assert name(state={"live": live, "generations": both, "programs": programs}) == live


def test_one_that_an_interrupted_run_left_is_continued() -> None:
    state = {
        "live": "ffffffff",
        "generations": sorted([CONTENT, "ffffffff"]),
        "programs": {f"shop-web.{CONTENT}": "STARTING", "shop-web.ffffffff": "RUNNING"},
    }
    assert name(state=state) == CONTENT


def test_beside_one_that_still_drains_comes_another_with_a_number() -> None:
    programs = {
        f"shop-worker-default.{CONTENT}": "STOPPING",
        "shop-web.ffffffff": "RUNNING",
        "shop-beat": "RUNNING",
    }
    state = {"live": "ffffffff", "generations": ["ffffffff"], "programs": programs}
    assert name(state=state) == f"{CONTENT}-2"
    programs[f"shop-worker-default.{CONTENT}-2"] = "STOPPING"
    assert name(state=state) == f"{CONTENT}-3"


def test_the_name_stands_wherever_a_program_has_a_place_for_it() -> None:
    (web, _) = value("__generation_named_programs", generation_name="0123abcd-2")
    assert web == {
        "name": "shop-web.0123abcd-2",
        "command": "gunicorn --bind web.0123abcd-2.sock",
        **COMMON,
        "log_file": "/var/log/shop/0123abcd-2.log",
    }


def problems(*programs: dict[str, Any], singles: list[dict[str, Any]] | None = None) -> str:
    text = value(
        "(__generation_problems or '') | trim",
        generation_programs=list(programs),
        generation_single_programs=singles or [],
    )
    return re.sub(r"\s+", " ", str(text))


def test_what_supervisor_can_read_is_accepted() -> None:
    environment = {"PATH": "/srv/shop/.venv/bin:/usr/bin", "RATE": "50%"}
    web = {**WEB, "environment": environment, "env_files": ["/etc/shop/app.env"]}
    assert problems(web, WORKER, singles=[BEAT]) == ""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "shop web.{generation}"}, "shop web.{generation}: a name is letters"),
        ({"name": "shop-web"}, "shop-web: it runs beside the one before it"),
        ({"name": "shop-{generation}.web"}, "its name ends in .{generation}"),
        ({"command": "run; rm"}, ""),
        ({"command": "run ;rm"}, "The command of the program shop-web.{generation} is run ;rm"),
        ({"command": "run\nrm"}, "a line break, or a ; or # after a blank, would end it"),
        ({"env_files": ["app.env"]}, "env_files of the program shop-web.{generation} has app.env"),
        ({"env_files": ["/etc/a b.env"]}, "give an absolute path without blanks"),
        ({"environment": {"1A": "x"}}, "has 1A with the value x"),
        ({"environment": {"A": 'say "x"'}}, "do not survive; use env_files"),
        ({"environment": {"A": "x #y"}}, "has A with the value x #y"),
    ],
)
def test_what_supervisor_would_misread_is_refused(change: dict[str, Any], complaint: str) -> None:
    found = problems({**WEB, **change})
    assert complaint in found
    assert bool(found) is bool(complaint)


def test_two_programs_of_one_name_are_refused() -> None:
    assert "two programs shop-beat" in problems(WEB, singles=[BEAT, BEAT])


def test_what_is_drained_first_is_what_this_stage_replaces_and_what_is_no_more() -> None:
    live = "ffffffff"
    running = [
        f"shop-web.{live}",
        f"shop-worker-default.{live}",
        f"shop-worker-gone.{live}",
        f"shop-worker-default.{live}-2",
        "shop-worker-default.eeeeeeee",
        "shop-beat",
    ]
    drained = value(
        "__generation_drained_first",
        state={"live": live, "generations": [live], "programs": dict.fromkeys(running, "RUNNING")},
        generation_start_only=[WORKER["name"]],
    )
    # The web processes still serve; whatever is not live drains already.
    assert drained == [f"shop-worker-default.{live}", f"shop-worker-gone.{live}"]


def test_a_program_may_say_whatever_the_template_reads_and_nothing_else() -> None:
    described = specs("generation")["main"]["options"]["generation_programs"]["options"]
    template = TEMPLATE.read_text()
    assert set(described) == set(re.findall(r"\bprogram\.(\w+)", template))
    defaults = dict(re.findall(r"program\.(\w+) \| default\('?([^'\[{)]+)'?\)", template))
    assert len(defaults) > 5
    assert {name: str(described[name]["default"]) for name in defaults} == defaults
