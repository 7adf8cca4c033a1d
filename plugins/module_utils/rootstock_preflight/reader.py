"""An inventory of Ansible's, with its values worked out once, and what the roles say about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible._internal._datatag._tags import Origin
from ansible.errors import AnsibleError
from ansible.template import Templar
from ansible.vars.hostvars import HostVarsVars
from ansible.vars.plugins import get_vars_from_inventory_sources

from .catalogue import GROUPS, OPTIONAL_GROUPS, Catalogue
from .model import APP_GROUPS, MARKER, SITE_GROUPS, Host, Inventory
from .problems import Problem
from .report import leaves


@dataclass(frozen=True)
class RoleCheck:
    """The expressions in which a role says what it refuses, and the groups whose hosts it runs on."""

    role: str
    groups: tuple[str, ...]
    expressions: tuple[str, ...]


ROLE_CHECKS = (
    RoleCheck("firewall", (*GROUPS, *OPTIONAL_GROUPS), ("__firewall_problems",)),
    RoleCheck("redis", ("redis",), ("__redis_problems",)),
    RoleCheck("redis_proxy", APP_GROUPS, ("__redis_proxy_problems",)),
    RoleCheck("postgresql", ("postgresql",), ("__postgresql_problems",)),
    RoleCheck("django_app", APP_GROUPS, ("__django_app_problems", "__django_app_identify_problems")),
    RoleCheck("celery", APP_GROUPS, ("__celery_problems",)),
    RoleCheck("flower", ("flower",), ("__flower_problems",)),
    RoleCheck("nginx", SITE_GROUPS, ("__nginx_problems",)),
)
# Tables of all hosts, so the same at each of them.
TABLES = (
    "stack_servers",
    "stack_apps",
    "stack_redis_clients",
    "stack_redis_set",
    "stack_redis_nodes",
    "stack_postgresql_nodes",
    "stack_app_hosts",
)
# What each host has of its own, and other hosts or the rules ask for. All else is worked out where needed.
OF_EACH = ("stack_server_hosts", "stack_redis_node", "stack_postgresql_node", "stack_peers")
# What tells two hosts apart that are otherwise alike, as the hosts of a fleet's group are: who each is. No
# role may refuse a host for that, so alike hosts are asked about once: it halves the time with 50 hosts.
IDENTITY = {"inventory_hostname", "inventory_hostname_short", "ansible_host", "stack_server_hosts"}
# Which release is wanted is no question of the inventory: the role asks it when it has seen the servers.
UNKNOWN_BEFORE_THE_RUN = {"django_app_release": ""}


class Reader:
    """Reads one inventory; `inventory`, `variables` and `loader` are Ansible's own three objects of a run."""

    def __init__(self, inventory: Any, variables: Any, loader: Any, root: Path, catalogue: Catalogue) -> None:
        """Take Ansible's objects, and the repository that the catalogue was read from."""
        self.inventory = inventory
        self.variables = variables
        self.loader = loader
        self.root = root
        self.catalogue = catalogue
        # By group and host: no host is named like a group.
        self.own_variables: dict[str, dict[str, Any]] = {}

    @cached_property
    def raw(self) -> dict[str, dict[str, Any]]:
        """All variables of each host. A value that was worked out takes the place of its expression."""
        # A dictionary of its own for hostvars: Ansible's works everything out again at each look from another
        # host, which takes minutes where every host looks at every other.
        found: dict[str, dict[str, Any]] = {}
        views: dict[str, Any] = {}
        for host in self.inventory.get_hosts(ignore_limits=True, ignore_restrictions=True):
            found[host.name] = self.variables.get_vars(host=host, include_hostvars=False) | {
                "hostvars": views
            }
            views[host.name] = HostVarsVars(found[host.name], loader=self.loader, host=host.name)
        return found

    def own(self, name: str) -> dict[str, Any]:
        """Return what the inventory itself says about a host: files of hosts, group_vars, host_vars, -e."""
        host = self.inventory.get_host(name)
        found: dict[str, Any] = {}
        for entity in [*host.get_groups(), host]:
            if entity.name not in self.own_variables:
                self.own_variables[entity.name] = {**entity.vars, **self.in_files(entity)}
            replace_all(found, self.own_variables[entity.name])
        return replace_all(found, self.variables.extra_vars)

    def in_files(self, entity: Any) -> dict[str, Any]:
        """Return the variables of a group or host in the files beside the inventory."""
        # Not from the variables of the host: there the wiring hides what the inventory says of the same name.
        found: dict[str, Any] = get_vars_from_inventory_sources(
            self.loader, self.inventory._sources, [entity], "task"
        )
        return found

    def work_out(self, host: str, name: str) -> str:
        """Put a value in the place of its expression. Return Jinja's message if that fails."""
        variables = self.raw[host]
        try:
            variables[name] = Templar(loader=self.loader, variables=variables).template(variables[name])
        except AnsibleError as error:
            return " ".join(str(error).split())
        return ""

    def read(self, wiring: bool = True) -> Inventory:
        """Return the inventory with its values worked out; without the wiring no host knows who serves it."""
        names = list(self.raw)
        failed: dict[str, dict[str, str]] = {name: {} for name in names}
        own = {name: self.own(name) for name in names}
        settable = set(self.catalogue.options)
        for name in names:
            secrets = {variable for variable in own[name] if variable.startswith("vault_")}
            for variable in [*sorted(settable & set(own[name]) | secrets), "ansible_host"]:
                if variable in self.raw[name] and (message := self.work_out(name, variable)):
                    failed[name][variable] = message
        # By variable, then by host: each of the wiring's variables is made of those before it, of all hosts.
        for variable in [name for name in self.catalogue.wired if wiring and name in TABLES + OF_EACH]:
            for name in names:
                if variable in TABLES and name != names[0]:
                    self.raw[name][variable] = self.raw[names[0]][variable]
                    continue
                # What cannot be worked out lacks something that a rule names.
                self.work_out(name, variable)
        known = (*GROUPS, *OPTIONAL_GROUPS)
        groups = {name: hosts for name, hosts in self.inventory.get_groups_dict().items() if name in known}
        hosts = {name: self.host(name, own[name], failed[name]) for name in names}
        return Inventory(
            hosts=hosts, groups=groups, catalogue=self.catalogue, name=self.directory(names).name
        )

    def directory(self, names: list[str]) -> Path:
        """Return the inventory's directory."""
        return Path(next((str(self.raw[name].get("inventory_dir") or "") for name in names), ""))

    def host(self, name: str, own: dict[str, Any], failed: dict[str, str]) -> Host:
        """Return one host of the model."""
        raw = self.raw[name]
        directory = self.directory([name])
        marked = frozenset(
            variable for variable, value in own.items() if any(MARKER in text for text in leaves(value))
        )
        wanted = {
            variable
            for variable in own
            if variable in self.catalogue.options or variable.startswith("vault_")
        }
        values = self.catalogue.defaults() | {
            variable: raw[variable] for variable in wanted if variable not in failed
        }
        address = name if "ansible_host" in marked | set(failed) else str(raw.get("ansible_host") or name)
        return Host(
            name=name,
            address=address,
            groups=frozenset(group.name for group in self.inventory.get_host(name).get_groups()),
            values=values,
            where={str(variable): place(variable, value, directory) for variable, value in own.items()},
            failed=failed,
            marked=marked,
            redis=self.node(name, "stack_redis_node"),
            postgresql=self.node(name, "stack_postgresql_node"),
        )

    def node(self, host: str, variable: str) -> str:
        """Return the host that the wiring chooses; "" if it could not."""
        # Not a host's name where the expression still stands there: the group is missing, say.
        value = str(self.raw[host].get(variable, ""))
        return value if value in self.raw else ""

    def role_problems(self, inventory: Inventory) -> Iterator[Problem]:
        """Yield what the roles refuse, in their own words."""
        for check in ROLE_CHECKS:
            directory = self.root / "roles" / check.role
            defaults, own = (
                self.loader.load_from_file(str(directory / name / "main.yml"), trusted_as_template=True) or {}
                for name in ("defaults", "vars")
            )
            role = {"role_path": str(directory), "ansible_search_path": [str(directory)]}
            asked: list[tuple[dict[str, Any], list[str], str]] = []
            for host in inventory.members(*check.groups):
                raw = self.raw[host.name]
                told = {name: value for name, value in raw.items() if name not in IDENTITY}
                answer = next(((said, failure) for other, said, failure in asked if other == told), None)
                if answer is None:
                    variables = {**defaults, **raw, **own, **role, **UNKNOWN_BEFORE_THE_RUN}
                    answer = self.refusals(check.role, [own[name] for name in check.expressions], variables)
                    asked.append((told, *answer))
                said, failure = answer
                for message in said:
                    yield self.role_problem(inventory, check.role, host, message)
                if failure:
                    message = f"Role {check.role} cannot check its variables: {failure}"
                    yield inventory.problem("template", "", [host], message, "set what the message names")

    def refusals(self, role: str, expressions: list[str], variables: dict[str, Any]) -> tuple[list[str], str]:
        """Return the messages of a role about one host, and Jinja's if an expression of the role fails."""
        templar = Templar(loader=self.loader, variables=variables)
        said: list[str] = []
        failure = ""
        for expression in expressions:
            try:
                text = str(templar.template(expression) or "")
            except AnsibleError as error:
                failure = " ".join(str(error).split())
                continue
            said += messages(text, role)
        return said, failure

    def role_problem(self, inventory: Inventory, role: str, host: Host, message: str) -> Problem:
        """Return a role's message as a problem with the variable that the user can set."""
        name = re.split(r"[^\w]", message.lstrip("'\""), maxsplit=1)[0]
        variable = name
        if "of the environment" in message:
            secret = name in (host.get("app_secret_environment") or {})
            variable = "app_secret_environment" if secret else "app_environment"
        feeds = self.catalogue.wired.get(variable, ())
        if feeds:
            variable = next((feed for feed in feeds if feed in host.where), feeds[0])
        says, fix = halves(message)
        return replace(inventory.problem(role, variable, [host], says, fix), made_of=feeds)


def replace_all(found: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Put variables in the place of others; the names as well, because they know where they stand."""
    for name, value in more.items():
        found.pop(name, None)
        found[name] = value
    return found


def place(name: str, value: Any, directory: Path) -> str:
    """Return file and line of a variable, relative to the inventory's directory; "" if that is not known."""
    # True, false and null carry no origin, but their names do.
    origin = Origin.get_tag(value) or Origin.get_tag(name)
    if origin is None or not origin.path:
        return str(origin.description or "") if origin else ""
    path = Path(origin.path)
    shown = path.relative_to(directory) if path.is_relative_to(directory) else path
    return f"{shown}:{origin.line_num}" if origin.line_num else str(shown)


def messages(text: str, role: str) -> list[str]:
    """Return a role's messages: each begins with a name or a capital, the lines that continue it do not."""
    found: list[str] = []
    begins = re.compile(rf"{role}_\w|[A-Z'\"]|\w+ of the environment")
    for line in filter(str.strip, text.splitlines()):
        if not found or begins.match(line):
            found.append(line.strip())
        else:
            found[-1] += f" {line.strip()}"
    return found


def halves(message: str) -> tuple[str, str]:
    """Return what a message says, and the way to fix it, which is its last part."""
    for separator in ("; ", ". ", ": "):
        says, found, fix = message.rpartition(separator)
        if found:
            return says + ("." if separator != ": " else ""), fix.rstrip(".")
    return message, message
