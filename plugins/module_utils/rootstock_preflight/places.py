"""Rules about what hosts of the inventory share when they are one server: ports, names, settings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from .application import domains_of
from .model import APP_GROUPS, SITE_GROUPS, Host, Inventory
from .problems import Problem
from .stores import some
from .values import is_whole_number

# What a server has once besides the data stores, whichever application brings it.
ONCE = ("nginx_hsts_seconds", "nginx_listen_ipv6")
WEB_PORTS = (80, 443)
LEAST_VALIDITY = timedelta(days=1)


def listeners(hosts: list[Host]) -> Iterator[tuple[int, str, list[Host]]]:
    """Yield each port of a server with the variable that says it and the hosts that bring it."""
    web = [host for host in hosts if host.is_in(*SITE_GROUPS)]
    for port in WEB_PORTS if web else ():
        yield port, "Nginx", web
    redis = [host for host in hosts if host.is_in("redis")]
    postgresql = [host for host in hosts if host.is_in("postgresql")]
    found: list[tuple[str, list[Host]]] = [("redis_port", redis), ("postgresql_port", postgresql)]
    found += (
        [("redis_cache_port", redis)]
        if any(host.get("redis_cache_enabled") is True for host in redis)
        else []
    )
    found += [("flower_port", [host]) for host in hosts if host.is_in("flower")]
    found += (
        [("redis_sentinel_port", redis)]
        if any(host.get("redis_sentinel_enabled") is True for host in redis)
        else []
    )
    led = [host for host in hosts if host.is_in(*APP_GROUPS) and host.get("redis_sentinel_enabled") is True]
    found += [("redis_proxy_port", led)]
    for variable, owners in found:
        if owners and is_whole_number(owners[0].get(variable)):
            yield int(owners[0].get(variable)), variable, owners


def ports(inventory: Inventory) -> Iterator[Problem]:
    """Refuse two programs on one port of a server."""
    for address, hosts in inventory.servers().items():
        taken: dict[int, tuple[str, list[Host]]] = {}
        for port, variable, owners in listeners(hosts):
            if port not in taken:
                taken[port] = (variable, owners)
                continue
            other, others = taken[port]
            says = (
                f"Port {port} of {address} is {variable} of {owners[0].name} and {other} of {others[0].name}."
            )
            concerned = list(dict.fromkeys(host.name for host in [*others, *owners]))
            yield inventory.problem(
                "ports",
                variable,
                [inventory.hosts[name] for name in concerned],
                says,
                "give one of them another port",
            )


def server_wide(inventory: Inventory) -> Iterator[Problem]:
    """Refuse two values for what a server has once."""
    names = [
        name
        for name in inventory.catalogue.options
        if name.startswith(("redis_", "postgresql_", "firewall_")) or name in ONCE
    ]
    for address, hosts in inventory.servers().items():
        for name in names if len(hosts) > 1 else ():
            if any(host.get(name) != hosts[0].get(name) for host in hosts):
                says = f"The hosts of {address} have different values of {name}, which the server has once."
                fix = "set it once, in group_vars/all or a group of these hosts"
                yield inventory.problem("server-wide", name, hosts, says, fix)


def app_once(inventory: Inventory) -> Iterator[Problem]:
    """Refuse two hosts of the inventory that would run one application on one server."""
    for address, hosts in inventory.servers().items():
        having_one = [host for host in hosts if host.is_in(*APP_GROUPS)]
        apps = inventory.by(lambda host: str(host.get("app_name")), having_one)
        for app, owners in apps.items():
            if len(owners) > 1:
                says = f"{' and '.join(host.name for host in owners)} are both {app} on {address}."
                fix = "give each application its own app_name, or put one host into all the groups"
                yield inventory.problem("app-once", "app_name", owners, says, fix)


def app_prefix(inventory: Inventory) -> Iterator[Problem]:
    """Refuse names whose programs cannot be told apart: shop-web is one of shop, or all of shop-web."""
    for address, hosts in inventory.servers().items():
        apps = [host for host in hosts if host.is_in(*APP_GROUPS) and host.get("app_name")]
        for host in apps:
            name = str(host.get("app_name"))
            for other in apps:
                shorter = str(other.get("app_name"))
                if name.startswith(f"{shorter}-"):
                    says = f"{name} is {shorter} of {other.name} with a hyphen and more, both on {address}."
                    fix = "give one of them another app_name: Supervisor's programs are named after it"
                    yield inventory.problem("app-prefix", "app_name", [host], says, fix)


def domain_once(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a domain of two applications of a server: Nginx would serve one of them."""
    for address, hosts in inventory.servers().items():
        taken: dict[str, Host] = {}
        for host in hosts:
            for domain in dict.fromkeys(domains_of(host)) if host.is_in(*SITE_GROUPS) else ():
                other = taken.setdefault(domain, host)
                if other.get("app_name") != host.get("app_name"):
                    variable = "app_domain" if host.get("app_domain") == domain else "app_extra_domains"
                    says = f"{domain} is the domain of {other.name} and of {host.name}, both on {address}."
                    yield inventory.problem(
                        "domain-once", variable, [host], says, "give each application its own"
                    )


def acme(inventory: Inventory) -> Iterator[Problem]:
    """Refuse an authority's certificate on two servers with one domain: it asks one of them for a proof."""
    sites = inventory.by(lambda host: str(host.get("app_name")), inventory.members(*SITE_GROUPS))
    for app, hosts in sites.items():
        # Where there is an edge, the domain leads there.
        led_to = [host for host in hosts if host.is_in("edge")] or hosts
        asking = [host for host in led_to if host.get("nginx_acme_enabled") is True]
        if len({host.address for host in asking}) > 1:
            says = f"{some(asking)} have the domain of {app}: an authority asks only one of them for a proof."
            fix = "give all of them one certificate, with nginx_tls_certificate and nginx_tls_key"
            yield inventory.problem("acme", "nginx_acme_enabled", asking, says, fix)


def names_of(certificate: x509.Certificate) -> set[str]:
    """Return the domains and addresses that a certificate is for, in lower case."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return {name.lower() for name in found}


def is_covered(domain: str, names: set[str]) -> bool:
    """Whether a certificate is for a domain; a wildcard stands for one label (RFC 6125, 6.4.3)."""
    return domain in names or f"*.{domain.partition('.')[2]}" in names


def certificates(inventory: Inventory) -> Iterator[Problem]:
    """Refuse certificates that browsers would refuse."""
    variable = "nginx_tls_certificate"
    for host in inventory.members(*SITE_GROUPS):
        path = Path(host.get(variable))
        # A file that is not there is the role's; one in a vault cannot be read here.
        if not host.get(variable) or not path.is_file() or path.read_bytes().startswith(b"$ANSIBLE_VAULT"):
            continue
        try:
            certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
        except ValueError:
            says = f"{path} is no certificate in PEM."
            yield inventory.problem(
                "certificate", variable, [host], says, "give the PEM file that the authority sent"
            )
            continue
        ends = certificate.not_valid_after_utc
        now = datetime.now(UTC)
        if ends < now + LEAST_VALIDITY:
            state = "ended" if ends < now else "ends"
            says = f"The certificate {state} on {ends:%Y-%m-%d %H:%M} UTC."
            yield inventory.problem("certificate", variable, [host], says, "renew it")
        if certificate.not_valid_before_utc > now:
            says = (
                f"The certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC."
            )
            yield inventory.problem(
                "certificate", variable, [host], says, "look at the controller's clock, or wait"
            )
        names = names_of(certificate)
        missing = [domain for domain in domains_of(host) if not is_covered(domain, names)]
        if missing:
            has = ", ".join(sorted(names)) or "no name"
            says = f"The certificate is for {has}, not for {', '.join(missing)}."
            yield inventory.problem(
                "certificate", variable, [host], says, "get one for all domains of the application"
            )


RULES_OF_PLACES = (ports, server_wide, app_once, app_prefix, domain_once, acme, certificates)
