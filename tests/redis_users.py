"""The users of Redis as role `redis` writes them; on stdout those for the tests of the runtime package.

Usage: redis_users.py >FILE
"""

import sys
from collections.abc import Mapping
from typing import Any

from rendering import render, variables_of
from repository import PROJECT

TEMPLATE = PROJECT / "roles/redis/templates/etc/redis/users.acl.j2"


def password(name: str) -> str:
    """A test's password for a user: nothing that listens beyond loopback has it."""
    return f"password-of-{name}"


def user(purpose: str, prefix: str = "", **more: Any) -> dict[str, Any]:
    """A user as the role takes it."""
    name = f"{'prefixed' if prefix else 'plain'}-{purpose}"
    found = {"name": name, "purpose": purpose, "password": password(name), "database": 1, "prefix": prefix}
    return found | more


def acl(users: list[dict[str, Any]], **variables: Any) -> str:
    """The text of the ACL file for these users."""
    given: Mapping[str, Any] = {
        "redis_password": password("admin"),
        "redis_monitor_password": password("monitor"),
        "redis_users": users,
    }
    return render(TEMPLATE, {**variables_of("redis"), **given, **variables})


if __name__ == "__main__":
    sys.stdout.write(
        acl(
            [user(purpose, prefix) for prefix in ("", "shop:") for purpose in ("app", "worker", "flower")]
            + [user("cache", database=0)]
        )
    )
