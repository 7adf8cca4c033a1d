"""Templates rendered by Ansible's own templating: undefined is an error, as on a run."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

from repository import PROJECT

MANAGED = "Managed by Rootstock"
FACTS = {
    "12": {"distribution": "Debian", "distribution_major_version": "12", "distribution_release": "bookworm"},
    "13": {"distribution": "Debian", "distribution_major_version": "13", "distribution_release": "trixie"},
}


@cache
def loader() -> Any:
    """Return Ansible's loader of files, with the collections' plugins known."""
    init_plugin_loader()
    found = DataLoader()
    found.set_basedir(str(PROJECT))
    return found


def variables_of(role: str, release: str = "12") -> dict[str, Any]:
    """Return what a play knows in a role on a host of that Debian release: facts, defaults, vars."""
    facts = {"os_family": "Debian", "processor_vcpus": 2, "memtotal_mb": 2000, **FACTS[release]}
    variables: dict[str, Any] = {
        "ansible_facts": facts,
        "ansible_check_mode": False,
        "ansible_managed": MANAGED,
        "inventory_hostname": "host",
        "role_name": role,
        "role_path": str(PROJECT / "roles" / role),
    }
    for name in ("defaults/main.yml", "vars/main.yml", f"vars/Debian-{release}.yml"):
        path = PROJECT / "roles" / role / name
        if path.exists():
            variables |= loader().load_from_file(str(path), trusted_as_template=True) or {}
    return variables


def trusted(value: Any) -> Any:
    """Return a test's own value with the trust that Ansible gives to what it reads from an inventory."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, Mapping):
        return {key: trusted(item) for key, item in value.items()}
    return [trusted(item) for item in value] if isinstance(value, list) else value


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """Return an expression's value. Raises AnsibleError for anything undefined."""
    return Templar(loader=loader(), variables=dict(variables)).template(trust_as_template(expression))


def render(template: Path, variables: Mapping[str, Any]) -> str:
    """Return a template's text as the module template would write it."""
    # ansible_search_path is what lets include and import find a role's other templates.
    search_path = [str(path) for path in template.parents if PROJECT in path.parents]
    everything = {**variables, "ansible_search_path": search_path, "__template": str(template)}
    own = "template_vars={'ansible_managed': ansible_managed}"
    return str(evaluate(f"{{{{ lookup('ansible.builtin.template', __template, {own}) }}}}", everything))
