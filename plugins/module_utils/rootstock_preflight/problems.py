"""A problem of an inventory, and the rules that find them."""

from __future__ import annotations

from dataclasses import dataclass

# Every rule by the name that a message shows, in the words of docs/preflight.md.
RULES = {
    # What stands in the inventory.
    "unknown-variable": "Every variable with a prefix of Rootstock's is one that something reads.",
    "wired-variable": "What the toolkit derives from other variables is not set in an inventory.",
    "change-me": "No value has the marker `CHANGE_ME` of a generated inventory left in it.",
    "template": "Every value can be worked out.",
    "type": "Every value has the type and the choices of its description, and so has every part of it.",
    # What it describes.
    "groups": "Every group is there and has a host; `flower` need not, nor those of managed data stores.",
    "required": "What describes an application is set.",
    "app-name": "`app_name` is a lower-case letter and at most 30 lower-case letters, digits and hyphens.",
    "interface": "Exactly one of `app_wsgi_module` and `app_asgi_module` is set.",
    "source": "`app_source` is a directory on the controller, a git URL, or a package with its version.",
    "source-options": "`app_source_ref` is set for a git URL, and no `app_source_*` for anything else.",
    "source-key": "`app_source_key` is a file that nobody else may read.",
    "domain": "`app_domain` and `app_extra_domains` are host names.",
    "hook": "A hook is the absolute path of a file.",
    "files": "A file of `app_files` has a path in the release, and either `content` or `template`.",
    "settings-overlay": "`app_settings_overlay` is Python.",
    "smoke-paths": "`django_app_smoke_paths` are paths of pages.",
    "timers": "`app_timers` have names of their own, and management commands.",
    "build-commands": "Each of `django_app_build_commands` is one line.",
    "environment-names": "`app_environment_names`, `app_database_environment`: names, none of them twice.",
    "cache-name": "No environment variable is the address of the cache and of Celery's broker or results.",
    "celery-settings": "`celery_settings` has no secret, and nothing that another variable sets.",
    "secret-missing": "Every secret that is needed is set.",
    "secret-example": "No secret is an example's.",
    "secret-length": "A secret has at least 16 characters.",
    "secret-repeated": "The secrets of an application differ from each other.",
    "secret-shared": "No two applications have the same secret key or database password.",
    "redis-password": "A Redis and all that use it have the same `vault_redis_password`.",
    "beat": "Exactly one beat belongs to each application and broker.",
    "redis-databases": "Database numbers on a Redis are from 0 to 15, and no two uses have the same one.",
    "redis-users": "An application's key prefix and rules of Redis are ones that an ACL can have.",
    "redis-set": "Several Redis with Sentinel are three or five, each on a server of its own.",
    "managed-url": "The URL of a managed service has a scheme that its client knows, and a host.",
    "managed-databases": "Broker, results and cache are different databases.",
    "managed-tls": "A result URL with `rediss` says `ssl_cert_reqs`: Celery refuses one without.",
    "managed-encryption": "A managed service elsewhere is reached over TLS, and its certificate is checked.",
    "ports": "No two programs of a server listen on the same port.",
    "server-wide": "Hosts of the inventory that are one server agree on what the server has once.",
    "client-settings": "A host and the data store it uses on another server agree on the data store's ports.",
    "app-once": "An application is on a server once.",
    "app-prefix": "On a server no application's name is another one's with a hyphen and more.",
    "domain-once": "A domain belongs to one application of a server.",
    "redis-reachable": "A Redis that another server uses listens beyond loopback.",
    "postgresql-reachable": "A PostgreSQL that another server uses listens beyond loopback and lets it in.",
    "edge": "A server of the group edge leads to web servers, which leave certificate and Flower to it.",
    "trusted-proxies": "`app_trusted_proxies` has addresses and networks.",
    "acme": "An authority's certificate is for one server: it asks one of several for the proof.",
    "certificate": "A certificate is valid for at least a day, and for all domains of the application.",
    "client-addresses": "A data store knows who may use it from another server by their addresses.",
    "firewall": "What role `firewall` refuses.",
    "redis": "What role `redis` refuses.",
    "redis_proxy": "What role `redis_proxy` refuses.",
    "postgresql": "What role `postgresql` refuses.",
    "django_app": "What role `django_app` refuses.",
    "celery": "What role `celery` refuses.",
    "flower": "What role `flower` refuses.",
    "nginx": "What role `nginx` refuses.",
    # What its servers have.
    "memory": "A server has the memory that its programs may take.",
    "disk": "1 GiB is free on `/srv` and on `/var/lib`, and twice Redis' `maxmemory` where Redis runs.",
    "distribution": "A server runs Debian 12 or 13, and all Redis of a set the same one.",
    "python": "A server's `python3` is 3.9 or newer.",
    "requires-python": "A project in a directory of the controller is for the Python that it would run on.",
}
# Those that a variable switches off: the user may know better.
WAIVABLE = ("memory", "disk", "distribution", "managed-encryption")


@dataclass(frozen=True)
class Problem:
    """One mistake. `hosts` may be empty: a group that is missing is no host's."""

    rule: str
    variable: str
    hosts: tuple[str, ...]
    says: str
    fix: str
    value: str = ""
    where: str = ""
    # Other variables about which there is nothing more to say: the right name of a misspelt one.
    covers: tuple[str, ...] = ()
    # The variables that a role's value is made of: if one is refused, this is only what follows.
    made_of: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise KeyError for a rule that is not documented."""
        RULES[self.rule]
