"""Roles are complete, and their defaults and argument specs say the same.

Ansible never applies a spec's defaults: defaults/main.yml is the source, the spec is what refuses bad input
and what the README is made from. Nothing but these tests keeps the two together.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from repository import PROJECT, ROLES, defaults, load, options, specs

FILES = (
    "README.md",
    "defaults/main.yml",
    "handlers/main.yml",
    "meta/argument_specs.yml",
    "meta/main.yml",
    "tasks/main.yml",
)
SECTIONS = ("## Variables", "## Idempotence", "## Standalone", "## What it does not do")
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "dict": (dict,),
    "float": (float, int),
    "int": (int,),
    "list": (list,),
    "path": (str,),
    "raw": (object,),
    "str": (str,),
}

every_role = pytest.mark.parametrize("role", ROLES)


def is_expression(value: object) -> bool:
    return "{{" in yaml.safe_dump(value) or "{%" in yaml.safe_dump(value)


def all_options(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every option with its path, nested ones included."""
    for name, option in found.items():
        yield prefix + name, option
        yield from all_options(option.get("options", {}), f"{prefix}{name}.")


def test_every_role_that_the_playbooks_use_is_there() -> None:
    files = [*PROJECT.glob("playbooks/*.yml"), *PROJECT.glob("roles/*/tasks/*.yml")]
    texts = "".join(path.read_text() for path in files)
    used = set(re.findall(r"^ +- role: (\w+)$", texts, re.MULTILINE))
    used |= set(re.findall(r"_role:\n +name: (\w+)$", texts, re.MULTILINE))
    assert used == set(ROLES), "a role that is not there, or one that nothing uses"


@every_role
def test_role_has_all_its_files(role: str) -> None:
    assert [name for name in FILES if not (PROJECT / "roles" / role / name).is_file()] == []


@every_role
def test_readme_has_the_sections(role: str) -> None:
    lines = (PROJECT / "roles" / role / "README.md").read_text().splitlines()
    assert [section for section in SECTIONS if section not in lines] == []


@every_role
def test_galaxy_metadata(role: str) -> None:
    info = load(PROJECT / "roles" / role / "meta/main.yml")["galaxy_info"]
    assert (info["author"], info["license"], info["min_ansible_version"]) == (
        "Rootstock contributors",
        "MIT",
        "2.19",
    )
    assert info["platforms"] == [{"name": "Debian", "versions": ["bookworm", "trixie"]}]


@every_role
def test_every_variable_is_in_both_files_or_required(role: str) -> None:
    public = {name for name in defaults(role) if not name.startswith("__")}
    required = {name for name, option in options(role).items() if option.get("required")}
    assert public - set(options(role)) == set(), "in defaults/main.yml, not in the spec"
    assert set(options(role)) - public - required == set(), (
        "in the spec, neither required nor in defaults/main.yml"
    )
    assert required & public == set(), "required, but with a default"


@every_role
def test_default_values_are_equal(role: str) -> None:
    found = options(role)
    in_file = {name: value for name, value in defaults(role).items() if name in found}
    expected = {
        name: value for name, value in in_file.items() if value is not None and not is_expression(value)
    }
    assert {name: found[name].get("default") for name in expected} == expected
    # An expression is worked out at run time, null means that there is none: a spec can say neither.
    assert [name for name in set(in_file) - set(expected) if found[name].get("default") is not None] == []


@every_role
def test_options_are_described_and_their_defaults_fit_their_types(role: str) -> None:
    wrong = []
    for path, option in all_options(options(role)):
        if not option.get("description") or option.get("type") not in PYTHON_TYPES:
            wrong.append(f"{path}: no description or no type")
        if option.get("type") == "list" and "elements" not in option:
            wrong.append(f"{path}: a list without elements")
        default = option.get("default")
        if default is None:
            continue
        if option.get("required"):
            wrong.append(f"{path}: required, but with a default")
        right_type = isinstance(default, PYTHON_TYPES[option["type"]])
        if not right_type or (isinstance(default, bool) and option["type"] == "int"):
            wrong.append(f"{path}: default {default!r} is no {option['type']}")
        # The choices of a list are those of its items.
        chosen = default if option["type"] == "list" else [default]
        if not all(choice in option.get("choices", chosen) for choice in chosen):
            wrong.append(f"{path}: default {default!r} is not among the choices")
    assert wrong == []


@every_role
def test_public_names_have_the_roles_prefix(role: str) -> None:
    assert [name for name in defaults(role) if not re.match(f"(__)?{role}_", name)] == []
    assert [name for name in options(role) if not name.startswith(f"{role}_")] == []


@every_role
def test_every_entry_point_has_tasks_and_every_one_in_use_a_spec(role: str) -> None:
    tasks = PROJECT / "roles" / role / "tasks"
    assert [entry for entry in specs(role) if not (tasks / f"{entry}.yml").is_file()] == []
    files = [*(PROJECT / "playbooks").glob("*.yml"), *(PROJECT / "roles").glob("*/tasks/*.yml")]
    call = re.compile(rf"\bname: {role}\n\s+tasks_from: (\w+?)(?:\.yml)?$", re.MULTILINE)
    used = {entry for path in files for entry in call.findall(path.read_text())}
    assert used <= set(specs(role))
