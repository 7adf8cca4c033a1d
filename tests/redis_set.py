"""The set of Redis in the scenario `sentinel`: who is what, and ways to break it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from testinfra.host import Host

from fleet import server
from stack import wait_for

MEMBERS = {"data1": "10.90.0.11", "data2": "10.90.0.12", "data3": "10.90.0.13"}
APP = "app12"
ADDRESSES = MEMBERS | {APP: "10.90.0.21"}
PROGRAM = "/usr/local/lib/rootstock/redis-primary"
TABLE = "inet tests"


class RedisSet:
    """Three Redis with a Sentinel each."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {name: server(name) for name in MEMBERS}

    def ask(self, name: str, command: str) -> str:
        """Speak to one of them as admin."""
        admin = '. /etc/redis/rootstock.env && REDISCLI_AUTH="$REDIS_ADMIN_PASSWORD" redis-cli --user admin'
        return self.hosts[name].check_output(f"{admin} --tls --cacert /etc/redis/tls/redis.crt {command}")

    def ask_sentinel(self, name: str, command: str) -> str:
        """Speak to the Sentinel of one of them."""
        login = '. /etc/redis/sentinel.env && REDISCLI_AUTH="$SENTINEL_PASSWORD" redis-cli --no-auth-warning'
        where = f"-h {MEMBERS[name]} -p 26379 --tls --cacert /etc/redis/tls/members.crt"
        return self.hosts[name].check_output(f"{login} {where} SENTINEL {command}")

    def role(self, name: str) -> str:
        """Return what a member says that it is: master or slave; empty if it does not answer."""
        admin = '. /etc/redis/rootstock.env && REDISCLI_AUTH="$REDIS_ADMIN_PASSWORD" redis-cli --user admin'
        said = self.hosts[name].run(f"{admin} --tls --cacert /etc/redis/tls/redis.crt ROLE")
        return said.stdout.split()[0] if said.rc == 0 and said.stdout else ""

    def primary(self, asked: Iterable[str] = MEMBERS) -> str:
        """Return the primary's name, as most Sentinels say it to each of those; empty if they differ."""
        said = {self.hosts[name].run(PROGRAM).stdout.strip() for name in asked}
        return next((name for name, address in MEMBERS.items() if said == {address}), "")

    def is_whole(self) -> bool:
        """Whether there is one primary, and each other member is its replica and has all that it has."""
        primary = self.primary()
        roles = sorted(map(self.role, MEMBERS))
        info = self.ask(primary, "INFO replication") if primary and "" not in roles else ""
        quorum = [host.run(f"{PROGRAM} quorum") for host in self.hosts.values()]
        return (
            roles == ["master", "slave", "slave"]
            and info.count("state=online") == 2
            and all(said.stdout.startswith("OK 3 usable Sentinels") for said in quorum)
        )

    def wait_until_whole(self) -> None:
        """AssertionError if it is not within a minute."""
        wait_for(self.is_whole, 60, "one primary and two replicas, as all Sentinels say")

    def wait_for_another(self, primary: str, seconds: float = 30) -> str:
        """Return who is the primary after that one, as the other members see it."""
        others = [name for name in MEMBERS if name != primary]

        def another() -> str:
            found = self.primary(others)
            return found if found != primary and self.role(found or primary) == "master" else ""

        return wait_for(another, seconds, f"another one than {primary} is the primary")


@contextmanager
def apart(some: Iterable[str], others: Iterable[str]) -> Iterator[None]:
    """No packet goes between some servers and others; nobody is told."""
    some, away = list(some), ", ".join(ADDRESSES[name] for name in others)
    rules = f"""table {TABLE} {{
        chain input {{ type filter hook input priority -10; ip saddr {{ {away} }} drop; }}
        chain output {{ type filter hook output priority -10; ip daddr {{ {away} }} drop; }}
    }}"""
    for name in some:
        server(name).check_output("printf %s %s | nft -f -", "%s", rules)
    try:
        yield
    finally:
        for name in some:
            server(name).check_output(f"nft delete table {TABLE}")
