"""Between the servers nothing is in the clear, and who speaks looks at the other's certificate."""

import socket
from collections.abc import Callable

import pytest
from testinfra.host import Host

from fleet import server
from stack import Stack

DATA = "10.89.0.10"
#: Of an authority that has signed nothing here.
FOREIGN = "/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt"
CACHE = "from django.core.cache import cache\nprint(json.dumps(cache.get('nothing')))"
BROKER = "from shop.celery import app\napp.connection_for_write().ensure_connection(max_retries=1)\nprint(1)"
DATABASE = "from django.db import connection\nconnection.ensure_connection()\nprint(1)"


@pytest.mark.parametrize("port", [6379, 6380])
def test_redis_speaks_tls_only(data: Host, port: int) -> None:
    for name in ("web12", "worker13"):
        clear = (
            f"import socket\nwith socket.create_connection(('{DATA}', {port}), 5) as redis:\n"
            "    redis.send(b'PING\\r\\n')\n    print(redis.recv(100))"
        )
        said = server(name).run("python3 -c %s", clear)
        assert "b''" in said.stdout or "ConnectionResetError" in said.stderr, said
    assert data.run(f"redis-cli -p {port} PING").rc != 0
    with_tls = data.run(f"redis-cli -p {port} --tls --cacert /etc/redis/tls/redis.crt PING")
    assert "NOAUTH" in with_tls.stdout + with_tls.stderr


@pytest.mark.parametrize("code", [CACHE, BROKER, DATABASE], ids=["cache", "broker", "database"])
def test_a_foreign_certificate_is_refused(stack: Stack, code: str) -> None:
    assert stack.python(code) in (None, 1)
    # The same program, but it trusts somebody else.
    other = {"SSL_CERT_FILE": FOREIGN, "SSL_CERT_DIR": "/nowhere", "PGSSLROOTCERT": FOREIGN}
    foreign = f"import os\nos.environ.update({other})\n"
    with pytest.raises(AssertionError, match="certificate verify failed"):
        stack.python(foreign + code)


def test_postgresql_is_reached_over_tls(stack: Stack) -> None:
    ask = (
        "from django.db import connection\n"
        "with connection.cursor() as own:\n"
        "    own.execute('select version from pg_stat_ssl where pid = pg_backend_pid()')\n"
        "    print(json.dumps(own.fetchone()))"
    )
    assert stack.python(ask) == ["TLSv1.3"]
    clear = "import os\nos.environ['PGSSLMODE'] = 'disable'\n"
    with pytest.raises(AssertionError, match="no encryption"):
        stack.python(clear + DATABASE)


def test_only_the_servers_of_the_stack_reach_redis(redis: Callable[..., str]) -> None:
    """This machine is on the same network, and no server of the stack."""
    with socket.create_connection((DATA, 22), 5):
        pass
    for port in (6379, 6380):
        with pytest.raises(TimeoutError):
            socket.create_connection((DATA, port), 3)
    peers = {line.split("addr=")[1].split(":")[0] for line in redis("CLIENT LIST").splitlines()}
    assert {"10.89.0.21", "10.89.0.31", "10.89.0.32"} <= peers
