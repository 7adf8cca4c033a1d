"""Rules about Redis and PostgreSQL, the stack's own and managed ones: who uses what, and how."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import SplitResult, parse_qs, urlsplit

from .model import APP_GROUPS, Host, Inventory
from .problems import Problem

SCHEMES = {
    "app_database_url": ("postgresql", "postgres"),
    "app_broker_url": ("redis", "rediss", "sentinel"),
    "app_result_url": ("redis", "rediss", "sentinel"),
    "app_cache_url": ("redis", "rediss"),
}
DATABASES = 16
# What a use of Redis is called in app_redis_databases, and the URL that replaces it.
USES = {"broker": "app_broker_url", "results": "app_result_url", "cache": "app_cache_url"}


def beat(inventory: Inventory) -> Iterator[Problem]:
    """Refuse any number of beats but one for each application and broker."""
    if not inventory.groups.get("beat"):
        return
    for app, hosts in inventory.apps().items():
        wanted = sorted({host.broker() for host in hosts if host.is_in("web", "workers")})
        beats = [host for host in hosts if host.is_in("beat")]
        if sorted(host.broker() for host in beats) != wanted:
            names = ", ".join(host.name for host in beats) or "nobody"
            says = (
                f"The beat of {app} is {names}; its tasks go through {len(wanted)} broker(s). Exactly one"
                " beat belongs to each: two send every periodic task twice, and without one nothing does."
            )
            yield inventory.problem(
                "beat", "group beat", beats or hosts, says, "correct the hosts of the group beat"
            )


def numbers(host: Host) -> dict[str, int]:
    """Return the database number of each use that a host's application makes of the stack's Redis."""
    given = host.get("app_redis_databases") or {}
    defaults = {"cache": 0, "broker": 1, "results": 2}
    return {use: int(given.get(use, defaults[use])) for use, url in USES.items() if not host.get(url)}


def redis_users(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a prefix and rules that are none, or that would keep Redis from starting."""
    for host in inventory.of_apps():
        prefix = str(host.get("app_redis_key_prefix") or "")
        if not re.fullmatch(r"[A-Za-z0-9._:-]*", prefix):
            says = f"app_redis_key_prefix is '{prefix}': it is letters, digits and . : - _ only."
            fix = "change it, such as shop:"
            yield inventory.problem("redis-users", "app_redis_key_prefix", [host], says, fix)
        for rule in host.get("app_redis_rules") or []:
            if not re.fullmatch(r"[-+~&][!-~]+", rule):
                says = f"app_redis_rules has '{rule}', which is no rule of a Redis ACL."
                fix = "write one of +command, -command, ~keys, &channels"
            elif rule[0] in "~&" and not prefix:
                says = f"app_redis_rules has '{rule}', but without a prefix all keys are its own."
                fix = "leave it out, or set app_redis_key_prefix"
            else:
                continue
            yield inventory.problem("redis-users", "app_redis_rules", [host], says, fix)


def redis_databases(inventory: Inventory) -> Iterator[Problem]:
    """Refuse database numbers that are not there, and two uses of one."""
    variable = "app_redis_databases"
    taken: dict[tuple[str, str, int], dict[str, list[Host]]] = {}
    for host in inventory.of_apps():
        used = numbers(host)
        for use, number in used.items():
            if number not in range(DATABASES):
                says = f"{variable}.{use} is {number}: Redis has the databases 0 to {DATABASES - 1}."
                yield inventory.problem("redis-databases", variable, [host], says, "choose one of them")
        if len(set(used.values())) < len(used):
            says = (
                "One database has two uses: "
                + ", ".join(f"{use} {number}" for use, number in used.items())
                + "."
            )
            yield inventory.problem(
                "redis-databases", variable, [host], says, "give cache, broker and results one each"
            )
            continue
        node = inventory.hosts.get(host.redis)
        for use, number in used.items() if node else ():
            instance = (
                "cache" if use == "cache" and node and node.get("redis_cache_enabled") is True else "broker"
            )
            apps = taken.setdefault((host.redis, instance, number), {})
            apps.setdefault(str(host.get("app_name")), []).append(host)
    shared: dict[tuple[str, tuple[str, ...]], tuple[list[int], list[Host]]] = {}
    for (redis, _, number), apps in taken.items():
        if len(apps) > 1:
            found, _ = shared.setdefault(
                (redis, tuple(apps)), ([], [host for hosts in apps.values() for host in hosts])
            )
            found.append(number)
    for (redis, names), (found, hosts) in shared.items():
        says = (
            f"The applications {' and '.join(names)} share database {', '.join(map(str, sorted(found)))}"
            f" of the Redis of {redis}: each would take the other's tasks or clear its cache."
        )
        yield inventory.problem(
            "redis-databases", variable, hosts, says, f"give each application other numbers in {variable}"
        )


def parsed(url: str) -> SplitResult | None:
    """Return a URL's parts; None for one that is none, or has no host."""
    try:
        parts = urlsplit(url)
        # Reading a port that is no number is what raises.
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def lacks_tls_option(parts: SplitResult) -> bool:
    """Whether Celery refuses a result URL over TLS, because it does not say how certificates are checked."""
    return parts.scheme == "rediss" and "ssl_cert_reqs" not in parse_qs(parts.query)


def managed_urls(inventory: Inventory) -> Iterator[Problem]:
    """Refuse URLs that no client understands."""
    for host in inventory.of_apps():
        for variable, schemes in SCHEMES.items():
            url = str(host.get(variable))
            parts = parsed(url)
            if url and (parts is None or parts.scheme not in schemes):
                says = f"{variable} must be a URL with a host and one of the schemes {', '.join(schemes)}."
                example = f"{schemes[0]}://user:password@host.example.net:port/database"
                yield inventory.problem("managed-url", variable, [host], says, f"write it as {example}")
            elif parts and variable == "app_result_url" and lacks_tls_option(parts):
                says = "app_result_url begins with rediss and does not say ssl_cert_reqs: Celery refuses it."
                yield inventory.problem(
                    "managed-tls", variable, [host], says, "append ?ssl_cert_reqs=required"
                )


def option(parts: SplitResult, name: str) -> str:
    """Return what a URL says of an option; an empty text if nothing."""
    return parse_qs(parts.query).get(name, [""])[-1]


def redis_weakness(variable: str, parts: SplitResult) -> tuple[str, str]:
    """Return what is weak about the way to a Redis, if anything, and the option that decides it."""
    name = "ssl_cert_reqs"
    checks = option(parts, name).lower().removeprefix("cert_")
    if parts.scheme == "redis":
        return "begins with redis://: password and content go over the network as they are", name
    if parts.scheme == "rediss" and variable == "app_broker_url" and not checks:
        return f"does not say {name}: Celery then takes any certificate of its broker", name
    if parts.scheme == "rediss" and checks == "none":
        return f"says {name}={option(parts, name)}: anybody's certificate is taken for the service's", name
    # How Sentinels are reached is in the application's settings.
    return "", name


def postgresql_weakness(host: Host, parts: SplitResult) -> tuple[str, str]:
    """Likewise of the way to a PostgreSQL. Its library reads the environment where the URL says nothing."""
    name, mode = "sslmode", option(parts, "sslmode")
    for environment in ("app_environment", "app_secret_environment"):
        mode = mode or str((host.get(environment) or {}).get("PGSSLMODE", ""))
    if mode in ("verify-full", "verify-ca") or (mode == "require" and option(parts, "sslrootcert")):
        return "", name
    if mode == "require":
        return "says sslmode=require: anybody's certificate is taken for the service's", name
    if mode == "disable":
        return "says sslmode=disable: all data go over the network as they are", name
    says = f"says sslmode={mode}" if mode else "does not say sslmode"
    return f"{says}: who is on the way can have all data go over the network as they are", name


def managed_encryption(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a way to a service elsewhere that somebody could listen at, unless the user wants it so."""
    rule = "managed-encryption"
    for host in inventory.of_apps():
        for variable, schemes in SCHEMES.items():
            parts = parsed(str(host.get(variable)))
            if parts is None or parts.scheme not in schemes or rule in (host.get("preflight_waived") or []):
                continue
            if parts.hostname == "localhost" or is_loopback(str(parts.hostname)):
                continue
            if variable == "app_database_url":
                weakness, name = postgresql_weakness(host, parts)
                fix = "write postgresql://…?sslmode=verify-full"
            else:
                weakness, name = redis_weakness(variable, parts)
                fix = "write rediss://…?ssl_cert_reqs=required"
            if weakness:
                fix = f"{fix}; or set preflight_waived: [{rule}] if nobody else is on the way"
                found = inventory.problem(rule, variable, [host], f"{variable} {weakness}.", fix)
                yield replace(found, value=without_password(parts, name))


def without_password(parts: SplitResult, name: str) -> str:
    """Return as much of a URL as surely is not secret: its place, and one option."""
    if "@" in parts.path + parts.query + parts.fragment:
        # The password has a character that ends the address: a part of it might stand in the host's place.
        return "(not shown)"
    value = option(parts, name)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://***@{place}{parts.path}" + (f"?{name}={value}" if value else "")


def managed_databases(inventory: Inventory) -> Iterator[Problem]:
    """Refuse one database of a managed Redis for two uses."""
    for host in inventory.of_apps():
        taken: dict[tuple[str | None, int, str], str] = {}
        for variable in USES.values():
            parts = parsed(str(host.get(variable)))
            if parts is None:
                continue
            place = (parts.hostname, parts.port or 6379, parts.path.strip("/") or "0")
            if place in taken:
                says = f"{variable} is the same database as {taken[place]}: who clears one loses the other."
                yield inventory.problem(
                    "managed-databases", variable, [host], says, "use another database or another server"
                )
            taken.setdefault(place, variable)


def redis_set(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a set of Redis that could not decide who its primary is."""
    variable = "redis_sentinel_enabled"
    concerned = [host for host in inventory.hosts.values() if host.is_in("redis", *APP_GROUPS)]
    wanted = [host for host in concerned if host.get(variable) is True]
    members = inventory.members("redis")
    if wanted and len(wanted) < len(concerned):
        others = [host for host in concerned if host not in wanted]
        says = f"{variable} is true for {some(wanted)} and not for {some(others)}: it is one set, or none."
        yield inventory.problem("redis-set", variable, concerned, says, "set it once, in group_vars/all")
    elif wanted and (len(members) < 3 or len(members) % 2 == 0):
        says = f"{len(members)} hosts are in the group redis: who is the primary is decided by most of them."
        fix = "put three or five there, or set it to false"
        yield inventory.problem("redis-set", variable, concerned, says, fix)
    elif wanted and len({host.address for host in members}) < len(members):
        says = "Two hosts of the group redis are one server, and would be gone together."
        yield inventory.problem("redis-set", variable, members, says, "give each a server of its own")
    elif wanted and (named := [host for host in members if not is_address(host.address)]):
        says = (
            f"{some(named)} may become the primary, which Sentinel tells of by its address and not by a name."
        )
        fix = "set ansible_host to the address in your private network"
        # The roles of all hosts refuse it as well, by a variable that the addresses are made of.
        covers = (variable, "firewall_open_ports")
        yield inventory.problem("redis-set", "ansible_host", concerned, says, fix, covers=covers)


def is_loopback(address: str) -> bool:
    """Whether only the host itself reaches an address; what is none is another rule's."""
    try:
        return ipaddress.ip_address(address.removeprefix("-")).is_loopback
    except ValueError:
        return False


def is_address(text: str) -> bool:
    """Whether a text is an IP address and no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def clients(inventory: Inventory, store: str) -> dict[str, list[Host]]:
    """Return the hosts that use a data store on another server, by the name of the data store's host.

    Of several Redis that are one set each is used by all applications, and by the other ones.
    """
    users = [
        host
        for host in inventory.of_apps()
        if (host.uses_redis() if store == "redis" else not host.get("app_database_url"))
    ]
    nodes = inventory.by(lambda host: getattr(host, store), users)
    members = inventory.redis_set() if store == "redis" else []
    nodes |= {member.name: [*users, *(other for other in members if other != member)] for member in members}
    return {
        name: away
        for name, hosts in nodes.items()
        if name in inventory.hosts
        and (away := [h for h in hosts if h.address != inventory.hosts[name].address])
    }


def some(hosts: list[Host]) -> str:
    """Return the names of the first hosts."""
    return ", ".join(host.name for host in hosts[:3]) + (
        f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    )


def redis_reachable(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a Redis that those who use it cannot reach."""
    variable = "redis_bind_addresses"
    for name, hosts in clients(inventory, "redis").items():
        node = inventory.hosts[name]
        addresses = node.get(variable)
        if addresses and all(is_loopback(address) for address in addresses):
            says = f"Redis listens on loopback only, and {some(hosts)} use it from another server."
            fix = "add the server's address in your private network"
            yield inventory.problem("redis-reachable", variable, [node], says, fix)


def postgresql_reachable(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a PostgreSQL that those who use it cannot reach."""
    for name, hosts in clients(inventory, "postgresql").items():
        node = inventory.hosts[name]
        addresses = node.get("postgresql_listen_addresses")
        if addresses and all(is_loopback(address) for address in addresses):
            says = f"PostgreSQL listens on loopback only, and {some(hosts)} use it from another server."
            fix = "add the server's address in your private network"
            yield inventory.problem("postgresql-reachable", "postgresql_listen_addresses", [node], says, fix)


def client_addresses(inventory: Inventory) -> Iterator[Problem]:
    """Refuse names of those whom a data store lets in by address: at boot nothing can be looked up."""
    # The roles of the data store's host refuse them as well, by a variable that the addresses are made of.
    covers = ("firewall_open_ports", "app_database_url")
    named: dict[str, dict[str, Host]] = {}
    for store in ("redis", "postgresql"):
        for name, hosts in clients(inventory, store).items():
            # Redis itself asks for no address, only the firewall in front of it does.
            if store == "postgresql" or inventory.hosts[name].get("firewall_enabled") is True:
                # A member of a set with a name is refused as such.
                found = {
                    host.name: host
                    for host in hosts
                    if not is_address(host.address) and host not in inventory.redis_set()
                }
                named.setdefault(name, {}).update(found)
    for name, by_name in named.items():
        if by_name:
            hosts = list(by_name.values())
            says = f"{some(hosts)} may use a data store of {name}, which lets in addresses and no names."
            fix = "set ansible_host to the address in your private network"
            among = [inventory.hosts[name], *hosts]
            yield inventory.problem("client-addresses", "ansible_host", among, says, fix, covers=covers)


def client_settings(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a client that would ask at another port than the one its data store has."""
    for store, variables in {
        "redis": ("redis_port", "redis_cache_enabled", "redis_cache_port"),
        "postgresql": ("postgresql_port",),
    }.items():
        for name, hosts in clients(inventory, store).items():
            node = inventory.hosts[name]
            for variable in variables:
                away = [host for host in hosts if host.get(variable) != node.get(variable)]
                if away:
                    says = f"{some(away)} and {name}, whose data store they use, differ in {variable}."
                    fix = "set it once, in group_vars/all"
                    yield inventory.problem("client-settings", variable, [node, *away], says, fix)


RULES_OF_STORES = (
    beat,
    redis_databases,
    redis_users,
    redis_set,
    managed_urls,
    managed_encryption,
    managed_databases,
    redis_reachable,
    postgresql_reachable,
    client_addresses,
    client_settings,
)
