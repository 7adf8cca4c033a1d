"""Redis and PostgreSQL, asked over the connections that the application uses."""

from testinfra.host import Host

from stack import APP, Stack, wait_for

# What keeps a task: nothing is evicted, nothing that was acknowledged is lost with the process, no idle
# connection of a worker is cut.
BROKER = {
    "maxmemory": str(256 * 1024 * 1024),
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "timeout": "0",
    "tcp-keepalive": "60",
    "protected-mode": "yes",
}


def test_redis_runs_with_the_settings_of_a_broker(stack: Stack) -> None:
    running = stack.redis_config()
    assert {name: running[name] for name in BROKER} == BROKER


def test_redis_refuses_who_has_no_password(host: Host) -> None:
    answer = host.run("redis-cli -p 6379 flushall").stdout
    assert "NOAUTH" in answer


def test_redis_listens_on_loopback_only(host: Host) -> None:
    sockets = host.check_output("ss -Hltn sport = :6379").split()
    addresses = {word.rsplit(":", 1)[0] for word in sockets if word.endswith(":6379")}
    assert addresses
    assert addresses <= {"127.0.0.1", "[::1]"}


def test_the_three_databases_are_apart(stack: Stack) -> None:
    urls = stack.python(
        "import os\nfrom urllib.parse import urlsplit\n"
        "names = ('CACHE_URL', 'CELERY_BROKER_URL', 'CELERY_RESULT_BACKEND')\n"
        "print(json.dumps([urlsplit(os.environ[name]).path for name in names]))"
    )
    assert urls == ["/0", "/1", "/2"]


def test_clearing_the_cache_leaves_a_queued_task(stack: Stack) -> None:
    """Django's cache.clear() is FLUSHDB: a broker in the cache's database would be emptied."""
    length = stack.python(
        "from django.core.cache import cache\nfrom shop.celery import app\n"
        "queue = 'nobody-consumes-this'\n"
        "with app.connection_for_write() as connection:\n"
        "    channel = connection.default_channel\n"
        "    app.send_task('diagnostics.tasks.whoami', queue=queue)\n"
        "    cache.set('canary', 1)\n"
        "    cache.clear()\n"
        "    assert cache.get('canary') is None\n"
        "    length = channel.client.llen(queue)\n"
        "    channel.client.delete(queue)\n"
        "print(json.dumps(length))"
    )
    assert length == 1


def test_redis_comes_back_after_kill_9_and_keeps_what_it_acknowledged(host: Host, stack: Stack) -> None:
    connect = "import os, redis\nr = redis.Redis.from_url(os.environ['CELERY_RESULT_BACKEND'])\n"
    stack.python(connect + "r.set('kept', 'yes')\nimport time; time.sleep(1.1)\nprint('null')")  # everysec
    before = host.check_output("systemctl show -p MainPID --value redis-server")
    host.check_output("systemctl kill -s KILL redis-server")

    def is_back() -> bool:
        pid = host.check_output("systemctl show -p MainPID --value redis-server")
        return pid not in ("0", before) and "NOAUTH" in host.run("redis-cli ping").stdout

    wait_for(is_back, 15, "Redis running again")
    assert (
        stack.python(connect + "v = r.get('kept')\nr.delete('kept')\nprint(json.dumps(v.decode()))") == "yes"
    )


def test_postgresql_knows_the_application_by_password(host: Host, stack: Stack) -> None:
    version = stack.python(
        "from django.db import connection\n"
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('show password_encryption')\n"
        "    print(json.dumps(cursor.fetchone()[0]))"
    )
    assert version == "scram-sha-256"
    stranger = host.run(f"psql -h 127.0.0.1 -U {APP} -w -c 'select 1' {APP}")
    assert stranger.rc != 0
    assert "no password supplied" in stranger.stderr
