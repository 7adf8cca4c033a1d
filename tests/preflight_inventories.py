"""Inventories for preflight: directories as users have them, read by Ansible's own code in this process."""

import hashlib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.vars.manager import VariableManager
from rootstock_preflight import catalogue, judgement, model, reader, report
from rootstock_preflight.problems import Problem

from repository import PROJECT

GROUPS = ("redis", "postgresql", "web", "workers", "beat", "flower")
Variables = dict[str, Any]


def secrets(app: str) -> Variables:
    """Return the five secrets of an application, random looking, different ones for each name."""
    names = ("django_secret_key", "flower_internal_password", "flower_password", "postgresql_password")
    found = {f"vault_{name}": random_looking(f"{app} {name}") for name in names}
    return found | {"vault_redis_password": random_looking("redis")}


def random_looking(seed: str) -> str:
    """Return 40 hexadecimal digits, the same for the same seed."""
    return hashlib.sha256(seed.encode()).hexdigest()[:40]


def application(name: str = "shop") -> Variables:
    """Return what describes an application, without secrets."""
    return {
        "app_name": name,
        "app_domain": f"{name}.example.net",
        "app_source": str(PROJECT / "sample_app"),
        "app_settings_module": f"{name}.settings",
        "app_wsgi_module": f"{name}.wsgi",
        "app_celery_application": name,
    }


@dataclass
class Draft:
    """An inventory that is not written yet. 192.0.2.0/24 is for documentation: nothing answers there."""

    everywhere: Variables = field(default_factory=lambda: application() | secrets("shop"))
    hosts: dict[str, Variables] = field(default_factory=lambda: {"one": {"ansible_host": "192.0.2.1"}})
    groups: dict[str, list[str]] = field(default_factory=lambda: {group: ["one"] for group in GROUPS})

    def with_(self, **variables: Any) -> "Draft":
        """Return the same with other variables for all hosts; None removes one."""
        everywhere = {k: v for k, v in (self.everywhere | variables).items() if v is not None}
        return Draft(everywhere, deepcopy(self.hosts), deepcopy(self.groups))

    def with_host(self, host: str, **variables: Any) -> "Draft":
        """Return the same with other variables of a host, which may be a new one; None removes one."""
        found = self.with_()
        found.hosts[host] = {
            k: v for k, v in (found.hosts.get(host, {}) | variables).items() if v is not None
        }
        return found

    def with_groups(self, **groups: Iterable[str] | None) -> "Draft":
        """Return the same with other hosts in groups; None removes a group."""
        found = self.with_()
        for group, hosts in groups.items():
            found.groups.pop(group, None)
            if hosts is not None:
                found.groups[group] = list(hosts)
        return found

    def write(self, directory: Path) -> Path:
        """Write the inventory: hosts.yml, group_vars/all/main.yml, and host_vars for each host."""
        (directory / "group_vars/all").mkdir(parents=True)
        (directory / "host_vars").mkdir()
        children: Variables = {
            group: {"hosts": {host: {} for host in hosts}} for group, hosts in self.groups.items()
        }
        hosts = {"all": {"hosts": {host: {} for host in self.hosts}, "children": children}}
        (directory / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
        (directory / "group_vars/all/main.yml").write_text(yaml.safe_dump(self.everywhere, sort_keys=False))
        for host, variables in self.hosts.items():
            (directory / f"host_vars/{host}.yml").write_text(yaml.safe_dump(variables, sort_keys=False))
        return directory


def fleet() -> Draft:
    """Return one application on four servers: data, two web servers, one of workers."""
    hosts = {
        name: {"ansible_host": f"192.0.2.{number}"}
        for number, name in enumerate(("data", "web1", "web2", "work1"), 10)
    }
    stores = {
        "redis_bind_addresses": ["127.0.0.1", "192.0.2.10"],
        "postgresql_listen_addresses": ["127.0.0.1", "192.0.2.10"],
    }
    draft = Draft(hosts=hosts).with_(**stores)
    data = ["data"]
    return draft.with_groups(
        redis=data, postgresql=data, web=["web1", "web2"], workers=["work1"], beat=["work1"], flower=["web1"]
    )


def with_edge() -> Draft:
    """Return the fleet with a server in front of both web servers, which has Flower as well."""
    draft = fleet().with_host("edge1", ansible_host="192.0.2.20")
    return draft.with_groups(edge=["edge1"], flower=["edge1"])


def several_redis() -> Draft:
    """Return the fleet with three Redis, which are one set."""
    own = {"redis_bind_addresses": ["127.0.0.1", "{{ ansible_host }}"], "redis_sentinel_enabled": True}
    draft = fleet().with_(**own)
    for number, name in ((14, "data2"), (15, "data3")):
        draft = draft.with_host(name, ansible_host=f"192.0.2.{number}")
    return draft.with_groups(redis=["data", "data2", "data3"])


def two_apps() -> Draft:
    """Return two applications on one server, which is two hosts of the inventory."""
    shop = {"ansible_host": "192.0.2.1", **application("shop"), **secrets("shop")}
    blog = {"ansible_host": "192.0.2.1", **application("blog"), **secrets("blog")}
    blog |= {"app_redis_databases": {"cache": 3, "broker": 4, "results": 5}, "flower_port": 5556}
    both = ["shop", "blog"]
    draft = Draft({}, {"shop": shop, "blog": blog})
    return draft.with_groups(
        web=both, workers=both, beat=both, flower=both, redis=["shop"], postgresql=["shop"]
    )


@cache
def loader() -> Any:
    """Return Ansible's loader of files, which keeps what it has read; the collections' plugins are known."""
    init_plugin_loader()
    found = DataLoader()
    found.set_basedir(str(PROJECT / "playbooks"))
    return found


@cache
def known() -> catalogue.Catalogue:
    """Return the repository's catalogue."""
    return catalogue.read(PROJECT)


def read(directory: Path) -> tuple[model.Inventory, reader.Reader]:
    """Read an inventory as a run of a playbook does, whose directory brings the wiring."""
    inventory = InventoryManager(loader=loader(), sources=[str(directory)])
    variables = VariableManager(loader=loader(), inventory=inventory)
    own = reader.Reader(inventory, variables, loader(), PROJECT, known())
    return own.read(), own


def problems(directory: Path) -> list[Problem]:
    """Return the problems of an inventory, the same one of several hosts as one."""
    inventory, own = read(directory)
    return report.merged(judgement.problems_of(inventory, own.role_problems))


def host(name: str = "one", groups: Iterable[str] = GROUPS, **values: Any) -> model.Host:
    """Return a host of the model with the defaults of what is not given."""
    return model.Host(
        name=name,
        address=name,
        groups=frozenset(groups),
        values={**known().defaults(), **values},
        where=dict.fromkeys(values, "hosts.yml:1"),
    )


def inventory_of(
    hosts: Iterable[model.Host], groups: Mapping[str, list[str]] | None = None
) -> model.Inventory:
    """Return an inventory of such hosts."""
    by_name = {one.name: one for one in hosts}
    found = {group: [name for name, one in by_name.items() if group in one.groups] for group in GROUPS}
    return model.Inventory(by_name, dict(groups or found), known(), "test")
