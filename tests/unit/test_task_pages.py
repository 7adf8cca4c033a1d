"""The pages for a user's tasks are short, and their YAML is right: names, types, the keys of list items."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from repository import PROJECT, ROLES, load, options

PAGES = {path.stem: path.read_text() for path in sorted((PROJECT / "docs/tasks").glob("*.md"))}
WIRED = load(PROJECT / "playbooks/group_vars/all/wiring.yml")
LONGEST_PAGE = 60
GROUPS = {"redis", "postgresql", "web", "workers", "beat", "flower", "edge"}
# What an argument spec for Ansible's validator may say about an option.
KEYS = ("type", "elements", "choices", "required", "options")


def blocks(page: str) -> list[str]:
    """Return the texts of a page's YAML."""
    return re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def for_validator(option: Mapping[str, Any]) -> dict[str, Any]:
    """Return an option without what only people read."""
    found = {key: option[key] for key in KEYS if key in option}
    if "options" in found:
        found["options"] = {name: for_validator(inner) for name, inner in option["options"].items()}
    return found


def settable() -> dict[str, Any]:
    """Return what an inventory may set; not all of it has to be there in an example."""
    found = load(PROJECT / "playbooks/variables.yml")["options"]
    for role in ROLES:
        found = found | options(role)
    return {
        name: for_validator(option) | {"required": False}
        for name, option in found.items()
        if name not in WIRED
    }


EXAMPLES = [(name, block) for name, page in PAGES.items() for block in blocks(page)]


def test_every_page_has_examples() -> None:
    assert {name for name, _ in EXAMPLES} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_short(name: str) -> None:
    assert len(PAGES[name].splitlines()) <= LONGEST_PAGE


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_to_run_what_comes_of_it_and_how_to_go_back(name: str) -> None:
    headings = re.findall(r"^## (.+)$", PAGES[name], re.MULTILINE)
    assert "Run" in headings
    assert [heading for heading in headings if heading.startswith("What you see")]
    assert [heading for heading in headings if "undo" in heading.lower()]


@pytest.mark.parametrize("block", [block for _, block in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_every_name_and_type_is_known(block: str) -> None:
    values = yaml.safe_load(block)
    if "all" in values:  # hosts.yml
        assert GROUPS & set(values["all"]["children"])
        return
    assert ArgumentSpecValidator(settable()).validate(values).error_messages == []
