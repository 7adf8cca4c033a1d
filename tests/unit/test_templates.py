"""Every template renders with the role's defaults, on both Debian releases, and says who manages the file."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError

from rendering import FACTS, MANAGED, evaluate, render, trusted, variables_of
from repository import PROJECT, ROLES, load

# What a role alone does not know: required variables, and what its tasks hand to a template.
EXAMPLES = load(Path(__file__).parent / "examples.yml")
SHARED = PROJECT / "templates"
# Redis refuses a comment in the file of its users.
WITHOUT_COMMENTS = {"users.acl.j2"}


def templates() -> list[tuple[str, Path]]:
    """Return (role, template) for all; a shared template has no role."""
    found = [("", path) for path in SHARED.rglob("*.j2")]
    for role in ROLES:
        found += [(role, path) for path in (PROJECT / "roles" / role / "templates").rglob("*.j2")]
    return sorted((role, path) for role, path in found)


def label(value: object) -> str:
    return str(value.relative_to(PROJECT)) if isinstance(value, Path) else str(value or "shared")


def example(role: str, template: Path, release: str = "12") -> dict[str, Any]:
    """Return the variables for a template: the role's own, then the examples for role and template."""
    given = EXAMPLES.get(role or "shared", {})
    variables: dict[str, Any] = variables_of(role, release) if role else {"ansible_managed": MANAGED}
    variables |= trusted(given.get("variables", {}))
    variables |= trusted(given.get("templates", {}).get(template.name, {}))
    return variables


every_template = pytest.mark.parametrize(("role", "template"), templates(), ids=label)


@every_template
@pytest.mark.parametrize("release", sorted(FACTS))
def test_template_renders_and_ends_with_a_newline(role: str, template: Path, release: str) -> None:
    text = render(template, example(role, template, release))
    assert template.name in WITHOUT_COMMENTS or MANAGED in "\n".join(text.splitlines()[:4])
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@every_template
def test_first_line_names_the_manager(role: str, template: Path) -> None:
    lines = template.read_text().splitlines()
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    assert template.name in WITHOUT_COMMENTS or first.startswith("{{ ansible_managed | comment")


@pytest.mark.parametrize("role", ROLES)
def test_path_mirrors_the_target(role: str) -> None:
    base = PROJECT / "roles" / role / "templates"
    assert {path.relative_to(base).parts[0] for path in base.rglob("*.j2")} <= {
        "etc",
        "srv",
        "usr",
        "var",
        "opt",
    }


def test_examples_name_only_what_is_there() -> None:
    names: dict[str, set[str]] = {role or "shared": set() for role in ("", *ROLES)}
    for role, template in templates():
        names[role or "shared"].add(template.name)
    for role, given in EXAMPLES.items():
        assert role in names
        assert set(given.get("templates", {})) <= names[role]


def program(**settings: Any) -> dict[str, str]:
    """Return the keys of the stanza that the Supervisor template makes of a program."""
    base = {"name": "p", "command": "run", "directory": "/srv/p", "user": "p", "log_file": "/var/log/p.log"}
    variables = {"ansible_managed": MANAGED, "supervisor_programs": [trusted(base | settings)]}
    text = render(SHARED / "supervisor_programs.conf.j2", variables)
    assert "\n[program:p]\n" in text
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith(";"))


def test_supervisor_signals_the_program_alone_and_kills_what_is_left() -> None:
    stanza = program()
    assert (stanza["stopasgroup"], stanza["killasgroup"], stanza["stopsignal"]) == ("false", "true", "TERM")


def test_supervisor_doubles_percent_signs_everywhere() -> None:
    stanza = program(
        command="run --at 50%", directory="/srv/%p", environment={"A": "p%40ss"}, log_file="/var/log/%.log"
    )
    assert stanza["command"].endswith("run --at 50%%")
    assert stanza["directory"] == "/srv/%%p"
    assert 'A="p%%40ss"' in stanza["environment"]
    assert stanza["stdout_logfile"] == "/var/log/%%.log"


def test_supervisor_reads_env_files_through_the_reader() -> None:
    stanza = program(env_files=["/etc/p/a.env", "/etc/p/b.env"])
    assert stanza["command"] == "/usr/local/lib/rootstock/with-env /etc/p/a.env /etc/p/b.env -- run"


def test_supervisor_template_keeps_programs_apart() -> None:
    base = {"command": "run", "directory": "/", "user": "p", "log_file": "/l"}
    programs = [{"name": "a", "environment": {"X": "1"}, **base}, {"name": "b", **base}]
    variables = {"ansible_managed": MANAGED, "supervisor_programs": trusted(programs)}
    lines = render(SHARED / "supervisor_programs.conf.j2", variables).splitlines()
    assert [line for line in lines if line.startswith("[")] == ["[program:a]", "[program:b]"]


@pytest.mark.parametrize(
    "value", ["plain", "with 'quotes' and \"more\"", "$HOME `id` \\ %", "", "p@ss/w:rd#;"]
)
def test_env_file_survives_a_shell(value: str, tmp_path: Path) -> None:
    variables = {"ansible_managed": MANAGED, "env_file_variables": {"VALUE": value}}
    file = tmp_path / "app.env"
    file.write_text(render(SHARED / "env_file.j2", variables))
    script = '. "$1"; printf %s "$VALUE"'
    done = subprocess.run(["sh", "-ec", script, "sh", file], capture_output=True, text=True, check=True)
    assert done.stdout == value


@pytest.mark.parametrize(
    "bad", [{"1NAME": "x"}, {"A-B": "x"}, {"A B": "x"}, {"A": "line\nline"}, {"A;id": "x"}]
)
def test_env_file_refuses_what_a_shell_would_misread(bad: dict[str, str]) -> None:
    with pytest.raises(AnsibleError):
        render(SHARED / "env_file.j2", {"ansible_managed": MANAGED, "env_file_variables": bad})


def redis_settings(name: str, **variables: object) -> dict[str, str]:
    template = PROJECT / "roles/redis/templates/etc/redis" / name
    lines = render(template, example("redis", template) | variables).splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def test_the_broker_evicts_nothing_and_keeps_what_it_accepted() -> None:
    broker = redis_settings("redis.conf.j2")
    expected = {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
    }
    assert {name: broker[name] for name in expected} == expected
    assert broker["timeout"] == "0"
    assert int(broker["maxmemory"].removesuffix("mb")) > 0


def test_the_broker_syncs_as_the_variable_says() -> None:
    assert redis_settings("redis.conf.j2", redis_appendfsync="always")["appendfsync"] == "always"


def test_the_cache_evicts_and_keeps_nothing() -> None:
    cache = redis_settings("redis-cache.conf.j2")
    assert (cache["maxmemory-policy"], cache["appendonly"], cache["save"]) == ("allkeys-lru", "no", '""')


def test_undefined_is_an_error() -> None:
    with pytest.raises(AnsibleError):
        evaluate("{{ nowhere_defined }}", {})


def test_a_timer_runs_its_command_as_it_is_written() -> None:
    """In systemd a percent sign and a dollar have meanings of their own, quotes those of a shell."""
    template = PROJECT / "roles/django_app/templates/etc/systemd/system/rootstock-timer.service.j2"
    lines = render(template, example("django_app", template)).splitlines()
    assert 'ExecStart=/usr/local/bin/shop-manage report --share 50%% "$$HOME"' in lines
    assert "TimeoutStartSec=3600" in lines
