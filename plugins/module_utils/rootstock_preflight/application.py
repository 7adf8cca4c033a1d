"""Rules about an application: what describes it, where it comes from, who asks for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .catalogue import GROUPS
from .model import Host, Inventory
from .problems import Problem

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
GIT = re.compile(r"(https|ssh|file)://\S+|[\w.-]+@[\w.-]+:\S+")
PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]+\])?==[A-Za-z0-9.!+_-]+")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"{LABEL}(\.{LABEL})*")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The variables that give names; no name may be given twice.
NAMING = ("app_environment_names", "app_database_environment")
OF_CELERY = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
# An application may keep results elsewhere: Celery itself would prefer what is in the environment.
MAY_HAVE_NO_NAME = "CELERY_RESULT_BACKEND"
MANAGED = {
    "redis": ("app_broker_url", "app_result_url", "app_cache_url"),
    "postgresql": ("app_database_url",),
}


def groups(inventory: Inventory) -> Iterator[Problem]:
    """Refuse groups that are missing, or empty where something needs them."""
    for group in GROUPS:
        managed = MANAGED.get(group, ())
        can_be_empty = group == "flower" or (
            bool(managed) and all(host.get(url) for host in inventory.of_apps() for url in managed)
        )
        if group in inventory.groups and (inventory.groups[group] or can_be_empty):
            continue
        state = "empty" if group in inventory.groups else "missing"
        fix = "add it to the inventory's file of hosts; a single server is in all groups"
        if managed:
            fix += f". An application that uses a managed one has {', '.join(managed)}"
        says = f"The inventory's group {group} is {state}. " + (
            "It may be empty, but must be there." if can_be_empty else "It must have at least one host."
        )
        yield inventory.problem("groups", f"group {group}", [], says, fix)


def required(inventory: Inventory) -> Iterator[Problem]:
    """Refuse an application that is not described."""
    names = [
        name
        for name, option in inventory.catalogue.options.items()
        if option.get("required") and name.startswith("app_")
    ]
    for host in inventory.of_apps():
        for name in names:
            if name not in host.failed and not str(host.get(name)).strip():
                says = f"{name} is not set. It says something about the application that cannot be guessed."
                yield inventory.problem(
                    "required", name, [host], says, "set it; inventories/single has an example"
                )


def name(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a name that cannot be a system user, a directory and a program."""
    for host in inventory.of_apps():
        value = host.get("app_name")
        if value and not NAME.fullmatch(value):
            says = "app_name is the name of a system user, of directories and of a database."
            fix = "use a lower-case letter, then at most 30 lower-case letters, digits and hyphens"
            yield inventory.problem("app-name", "app_name", [host], says, fix)


def interface(inventory: Inventory) -> Iterator[Problem]:
    """Refuse an application that has no callable, or two."""
    for host in inventory.of_apps():
        wsgi, asgi = host.get("app_wsgi_module"), host.get("app_asgi_module")
        if not wsgi and not asgi:
            says = "app_wsgi_module is not set, and neither is app_asgi_module: Gunicorn needs one of them."
            yield inventory.problem(
                "interface", "app_wsgi_module", [host], says, "set one, such as shop.wsgi"
            )
        elif wsgi and asgi:
            says = f"app_asgi_module is set beside app_wsgi_module ({wsgi}): Gunicorn runs one of them."
            yield inventory.problem("interface", "app_asgi_module", [host], says, "leave one of the two out")


def is_git(source: str) -> bool:
    """Whether a source is a git URL."""
    return bool(GIT.fullmatch(source))


def source(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a source that is none of the three kinds, or is not there."""
    for host in inventory.of_apps():
        value = str(host.get("app_source"))
        if not value or is_git(value) or PACKAGE.fullmatch(value):
            continue
        if not value.startswith("/"):
            says = "app_source must be an absolute path, a git URL (https, ssh, file) or name==version."
            fix = "write it as one of them; a path begins with {{ inventory_dir }} or {{ playbook_dir }}"
        elif not Path(value).exists():
            says, fix = "app_source names a directory that is not on the controller.", "correct the path"
        elif not Path(value).is_dir():
            says, fix = "app_source names a file.", "name the directory of the Django project"
        else:
            continue
        yield inventory.problem("source", "app_source", [host], says, fix)


def source_options(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a git URL without a version, and options of git with anything else."""
    for host in inventory.of_apps():
        value = str(host.get("app_source"))
        if is_git(value):
            if not host.get("app_source_ref"):
                says = "app_source is a git URL, and app_source_ref is not set: it says what is deployed."
                fix = "set app_source_ref to a branch, a tag or a commit"
                yield inventory.problem("source-options", "app_source_ref", [host], says, fix)
            continue
        for option in ("app_source_ref", "app_source_key", "app_source_directory"):
            if value and host.get(option):
                says = f"{option} is for a git URL, which app_source ({value}) is not."
                yield inventory.problem("source-options", option, [host], says, "leave it out")


def source_key(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a deploy key that ssh would refuse later."""
    for host in inventory.of_apps():
        key = Path(host.get("app_source_key"))
        if not host.get("app_source_key") or not is_git(str(host.get("app_source"))):
            continue
        if not key.is_absolute() or not key.is_file():
            says, fix = (
                "app_source_key is no file on the controller.",
                "give the absolute path of the private key",
            )
        elif key.stat().st_mode & 0o077:
            says, fix = "app_source_key can be read by others, so ssh refuses it.", f"chmod 600 {key}"
        else:
            continue
        yield inventory.problem("source-key", "app_source_key", [host], says, fix)


def domains_of(host: Host) -> list[str]:
    """Return all domains of a host's application."""
    return [domain for domain in [host.get("app_domain"), *(host.get("app_extra_domains") or [])] if domain]


def domains(inventory: Inventory) -> Iterator[Problem]:
    """Refuse what no browser can ask for."""
    for host in inventory.of_apps():
        for variable in ("app_domain", "app_extra_domains"):
            found: list[Any] = (
                list(host.get(variable) or []) if variable == "app_extra_domains" else [host.get(variable)]
            )
            # Nginx and Django both know names below a domain as *.domain; the first one is what people read.
            bare = [item.removeprefix("*.") if variable == "app_extra_domains" else item for item in found]
            for domain, checked in zip(found, bare, strict=True):
                if domain and (len(domain) > 253 or not DOMAIN.fullmatch(checked)):
                    says = f"{domain} is no host name."
                    fix = "use a domain in lower case, without a scheme, a port and a path"
                    yield inventory.problem("domain", variable, [host], says, fix)


def hooks(inventory: Inventory) -> Iterator[Problem]:
    """Refuse hooks that are not there."""
    for host in inventory.of_apps():
        for variable in ("app_hook_before_migrate", "app_hook_after_switch"):
            path = Path(host.get(variable))
            if variable in host.where and not (path.is_absolute() and path.is_file()):
                says = f"{variable} is {path}: it must be the absolute path of a file of tasks."
                fix = "begin it with {{ inventory_dir }}, or leave the variable out"
                yield inventory.problem("hook", variable, [host], says, fix)


def aliases_of(given: Any) -> list[Any]:
    """Return the names that take the place of one: a name stands for a list of it."""
    return list(given) if isinstance(given, list | tuple) else [given]


def faults_of_names(inventory: Inventory, host: Host) -> Iterator[tuple[str, str, str]]:
    """Yield the variable that gives a bad name, what is wrong with the name, and the way to fix it."""
    names = host.get("app_environment_names") or {}
    # What no name is given for keeps its own.
    standard = inventory.catalogue.options["app_environment_names"]["options"]
    taken = {name: name for name in standard if name not in names}
    for variable in NAMING:
        for part, given in (host.get(variable) or {}).items():
            aliases = aliases_of(given)
            if given == [] and part == MAY_HAVE_NO_NAME:
                continue
            if not aliases or not all(aliases):
                yield (
                    variable,
                    f"{part} has no name in {variable}.",
                    f"write {part}: NAME or {part}: [NAME, OTHER_NAME]",
                )
                continue
            for alias in aliases:
                if not isinstance(alias, str) or not ENVIRONMENT_NAME.fullmatch(alias):
                    says = f"{alias}, the name for {part}, is no name of an environment variable."
                    yield variable, says, "use letters, digits and underscores, and no digit first"
                elif alias not in taken:
                    taken[alias] = part
                elif not is_cache_beside_celery({taken[alias], part}):
                    fix = "give each variable its own name"
                    if {taken[alias], part} == set(OF_CELERY):
                        fix = f"leave {part} out of {variable}: Celery reads {part} before the settings"
                    yield variable, f"{taken[alias]} and {part} have the same name, {alias}.", fix


def is_cache_beside_celery(standard: set[str]) -> bool:
    """Whether two standard names are the cache's and one of Celery's."""
    return "CACHE_URL" in standard and bool(standard & set(OF_CELERY))


def environment_names(inventory: Inventory) -> Iterator[Problem]:
    """Refuse names that no environment has, and two values under one name."""
    # The role would refuse the environment that these names are part of.
    covers = ("app_environment", "app_secret_environment")
    for host in inventory.of_apps():
        for variable, says, fix in faults_of_names(inventory, host):
            yield inventory.problem("environment-names", variable, [host], says, fix, covers=covers)


def cache_name(inventory: Inventory) -> Iterator[Problem]:
    """Refuse one name for the addresses of cache and broker: clearing the cache would delete tasks."""
    variable = "app_environment_names"
    for host in inventory.of_apps():
        names = {standard: aliases_of(given) for standard, given in (host.get(variable) or {}).items()}
        every = {name: names.get(name, [name]) for name in ("CACHE_URL", *OF_CELERY)}
        shared = [name for name in OF_CELERY if set(every[name]) & set(every["CACHE_URL"])]
        if not shared:
            continue
        alias = next(alias for alias in every["CACHE_URL"] if alias in every[shared[0]])
        # Celery itself reads these two names, and before its settings.
        kept = names | {"CACHE_URL": every["CACHE_URL"]}
        for name in shared:
            kept[name] = [one for one in every[name] if one not in every["CACHE_URL"] and one != name]
        line = ", ".join(
            f"{standard}: {given[0] if len(given) == 1 else '[' + ', '.join(map(str, given)) + ']'}"
            for standard, given in kept.items()
            if given
        )
        says = (
            f"{alias} would be the address of the cache (CACHE_URL) and of {' and '.join(shared)}:"
            " Redis refuses to clear a cache there, where tasks are. Celery itself reads CELERY_BROKER_URL"
            " and CELERY_RESULT_BACKEND, before the settings."
        )
        yield inventory.problem("cache-name", variable, [host], says, f"{variable}: {{{line}}}")


RULES_OF_APPLICATIONS = (
    groups,
    required,
    name,
    interface,
    source,
    source_options,
    source_key,
    domains,
    hooks,
    environment_names,
    cache_name,
)
