"""Rules about servers in front of the web servers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from .application import domains_of
from .model import SITE_GROUPS, Host, Inventory
from .problems import Problem
from .stores import is_address, some

CERTIFICATE = ("nginx_acme_enabled", "nginx_tls_certificate")


def is_network(text: str) -> bool:
    """Whether a text is an IP address or a network of them."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def faults_of_edge(edge: Host, web: list[Host]) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with an edge by itself: the variable, what it says, the way to fix it."""
    if not web:
        says = f"{edge.name} is in the group edge, and no host of the group web is of its application."
        yield "app_name", says, "give it the app_name of the web servers that it leads to"
    domain = next(iter(domains_of(edge)), "")
    if is_address(domain):
        says = f"app_domain is {domain}: the edge knows its web servers by a name, which an address is not."
        yield "app_domain", says, "set it to a domain"
    if shared := [host for host in web if host.address == edge.address]:
        says = f"{edge.name} leads to {some(shared)}, which is the same server."
        yield "ansible_host", says, "give the edge a server of its own, or leave the group edge out"


def edge(inventory: Inventory) -> Iterator[Problem]:
    """Refuse an edge that leads nowhere, and web servers that do as if there was none."""
    # No application is named so: an edge without a name leads to none.
    applications = inventory.by(lambda host: str(host.get("app_name") or "-"), inventory.members("edge"))
    for app, edges in applications.items():
        hosts = [host for host in inventory.of_apps() if host.get("app_name") == app]
        web = [host for host in hosts if host.is_in("web")]
        for one in edges:
            for variable, says, fix in faults_of_edge(one, web):
                yield inventory.problem("edge", variable, [one], says, fix)
        behind = [host for host in web if not host.is_in("edge")]
        for variable in CERTIFICATE:
            if found := [host for host in behind if host.get(variable)]:
                says = f"{variable} is set for {some(found)}, which only {some(edges)} reaches."
                fix = "set it in group_vars/edge: browsers see the edge's certificate"
                yield inventory.problem("edge", variable, found, says, fix)
        if away := [host for host in hosts if host.is_in("flower") and not host.is_in("edge")]:
            says = f"Flower is on {some(away)}, and the domain leads to {some(edges)}."
            fix = "put the edge's host into the group flower instead"
            yield inventory.problem("edge", "group flower", away, says, fix)
        if named := [host for host in [*edges, *web] if not is_address(host.address)]:
            says = f"{some(named)} reach each other by address: names are neither opened for nor waited for."
            fix = "set ansible_host to the address in your private network"
            # The roles refuse it as well, by variables that the addresses are made of.
            covers = ("firewall_open_ports", "app_trusted_proxies", "app_name")
            yield inventory.problem("edge", "ansible_host", [*edges, *web], says, fix, covers=covers)


def trusted_proxies(inventory: Inventory) -> Iterator[Problem]:
    """Refuse a proxy that Nginx could not know by its address."""
    variable = "app_trusted_proxies"
    for host in inventory.members(*SITE_GROUPS):
        for proxy in host.get(variable) or []:
            if not is_network(proxy):
                says = f"{variable} has {proxy}, which is no address and no network."
                fix = "write it as 10.0.0.5 or 10.0.0.0/24"
                yield inventory.problem("trusted-proxies", variable, [host], says, fix)


RULES_OF_EDGES = (edge, trusted_proxies)
