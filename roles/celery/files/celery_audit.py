"""Audit the application's own Celery configuration against the inventory, before anything of a release runs.

Runs in the application's environment, virtual environment and release directory. Arguments: the Celery
application; a JSON object (see Expected). Exit status 1 if a rule is broken or the application cannot be
loaded, with one line for each problem on stderr. What a service does not tell is a line on stdout that begins
with "Not seen: ". Passwords in URLs are masked.
"""

import functools
import json
import re
import ssl
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NotRequired, TypedDict
from urllib.parse import parse_qs, urlsplit

from celery.app.routes import MapRoute
from celery.app.utils import find_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError, ResponseError

TRACEBACK_LINES = 8
NAMES_SHOWN = 5
#: Seconds; what kombu takes when nothing is set.
DEFAULT_VISIBILITY_TIMEOUT = 3600
REDIS_SCHEMES = {"redis", "rediss", "redis+socket", "sentinel"}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
#: Whoever can write to the broker could run code in a worker that accepts one of these.
UNSAFE_CONTENT = {"pickle", "application/x-python-serialize", "yaml", "application/x-yaml"}


#: What INFO calls a setting, and what CONFIG calls it. A service often forbids the second, some both.
SETTINGS = {"maxmemory_policy": "maxmemory-policy", "aof_enabled": "appendonly"}


class Address(TypedDict):
    """Where the inventory has put a Redis database, whether others run it, and with a checked certificate."""

    host: str
    port: int
    db: int
    managed: NotRequired[bool]
    verified: NotRequired[bool]


class Expected(TypedDict):
    """What the inventory says: queues that pools consume, seconds, addresses, prefix, rules not to apply."""

    queues: list[str]
    visibility_timeout: int
    time_limit_margin: int
    broker: Address
    results: Address
    key_prefix: str
    waived: list[str]


def setting(name: str) -> str:
    """Return both names of a setting: Celery's, and the one in Django settings with namespace CELERY."""
    return f"{name} (CELERY_{name.upper()})"


def masked(text: str) -> str:
    """Return the text without the users and passwords of URLs."""
    return re.sub(r"://\S*@", "://**@", text)


def listing(names: Iterable[str]) -> str:
    """Return the first names and how many more there are."""
    found = sorted(names)
    more = len(found) - NAMES_SHOWN
    return ", ".join(found[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


# --- Broker and results


def differences(url: str, expected: Address) -> list[str]:
    """Return in what a Redis URL differs from the expected address, as far as its kind of URL tells."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or 6379
        if "@" in parts.path + parts.query + parts.fragment:
            raise ValueError("the password has ended the address")
    except ValueError:
        return ["no valid URL: special characters of a password must be encoded, such as # as %23"]
    found = []
    socket = parts.scheme == "redis+socket"
    # A sentinel's own address says nothing of the master's, a socket's path nothing of a port.
    if not socket and parts.scheme != "sentinel":
        if host != expected["host"] and not {host, expected["host"]} <= LOOPBACK:
            found.append(f"host {host} instead of {expected['host']}")
        if str(port) != str(expected["port"]):
            found.append(f"port {port} instead of {expected['port']}")
    # Of a URL that is no URL a part of the password might stand here: only numbers are shown.
    db = (parse_qs(parts.query).get("virtual_host", [""])[0] if socket else parts.path).strip("/") or "0"
    if db != str(expected["db"]):
        found.append(f"db {db if db.isdecimal() else '(no number)'} instead of {expected['db']}")
    return found


def wrong_address(name: str, url: str, expected: Address) -> Iterator[str]:
    """Yield a problem for each address in a URL, which may list several, that is not the expected one."""
    for part in url.split(";"):
        if found := differences(part, expected):
            yield (
                f"{setting(name)} has {', '.join(found)}: the application must use the inventory's Redis; "
                "read the address from the environment, or correct it there"
            )


def broker(app: Any, expected: Expected) -> Iterator[str]:
    urls = {name: getattr(app.conf, name) for name in ("broker_read_url", "broker_write_url")}
    if urls["broker_read_url"] == urls["broker_write_url"]:
        urls = {"broker_url": urls["broker_read_url"]}
    for name, value in urls.items():
        for url in [value] if isinstance(value, str) else value or ["(unset)"]:
            scheme = url.partition("://")[0]
            if scheme in REDIS_SCHEMES:
                yield from wrong_address(name, url, expected["broker"])
            else:
                yield (
                    f"{setting(name)} is {url}: the workers' broker is Redis; set it to a URL that begins "
                    "with redis://, rediss:// or sentinel://"
                )


def result_url(app: Any) -> str:
    """Return the URL of the result backend if that is Redis, else an empty string."""
    backend = app.conf.result_backend
    if backend == "redis":
        return "redis://"
    is_redis = isinstance(backend, str) and backend.partition("://")[0] in REDIS_SCHEMES
    return backend if is_redis else ""


def results(app: Any, expected: Expected) -> Iterator[str]:
    yield from (
        wrong_address("result_backend", result_url(app), expected["results"]) if result_url(app) else ()
    )


# --- Redis that others run


class Unseen(str):
    """What a service does not tell: the user is told so, and nothing is refused."""

    __slots__ = ()


@dataclass(frozen=True)
class Service:
    """What a Redis that others run says of itself."""

    name: str
    variable: str
    host: str
    told: dict[str, Any] = field(default_factory=dict)
    verified: bool = False
    error: str = ""

    def unseen(self, what: str, wanted: str) -> Unseen:
        """Return that a setting could not be seen, and what it has to be."""
        return Unseen(
            f"{self.name} at {self.host} does not tell its {what}: INFO and CONFIG are forbidden there, or "
            f"do not have it. Look it up where the service is configured: {wanted}"
        )


def told(client: Any) -> dict[str, Any]:
    """Return what INFO tells, and CONFIG where that is silent. Raises RedisError if there is no answer."""
    found: dict[str, Any] = {}
    with suppress(ResponseError):
        found = dict(client.info())
    for name, parameter in SETTINGS.items():
        if name not in found:
            with suppress(ResponseError):
                found[name] = client.config_get(parameter).get(parameter)
    return found


def is_verified(client: Any) -> bool:
    """Whether the client's connections check the certificate; one without TLS knows of none."""
    connection = client.connection_pool.make_connection()
    return bool(getattr(connection, "cert_reqs", ssl.CERT_NONE) != ssl.CERT_NONE)


@functools.cache
def managed_broker(app: Any, host: str) -> Service:
    service = Service("the broker", "app_broker_url", host)
    try:
        with app.connection_for_write() as connection:
            # Without it the next line would try for ever.
            connection.ensure_connection(max_retries=0)
            client = connection.default_channel.client
            return replace(service, told=told(client), verified=is_verified(client))
    except (OperationalError, RedisError) as error:
        return replace(service, error=str(error))
    except ValueError:
        # Its text may be a part of the password, which has ended the address.
        return replace(service, error="its URL is none")


@functools.cache
def managed_results(app: Any, host: str) -> Service:
    service = Service("the Redis of the results", "app_result_url", host)
    try:
        client = app.backend.client
        return replace(service, told=told(client), verified=is_verified(client))
    except RedisError as error:
        return replace(service, error=str(error))
    except ValueError:
        return replace(service, error="its URL is none")


def services(app: Any, expected: Expected) -> Iterator[tuple[Service, Address]]:
    """Yield each Redis that others run, which is asked once, and where the inventory says that it is."""
    is_redis = str(app.conf.broker_write_url).partition("://")[0] in REDIS_SCHEMES
    if (address := expected["broker"]).get("managed") and is_redis:
        yield managed_broker(app, address["host"]), address
    if (address := expected["results"]).get("managed") and result_url(app):
        yield managed_results(app, address["host"]), address


def answering(app: Any, expected: Expected, variable: str) -> Iterator[Service]:
    """Yield the service of a variable if others run it and it answers."""
    yield from (
        service
        for service, _ in services(app, expected)
        if service.variable == variable and not service.error
    )


def reachable(app: Any, expected: Expected) -> Iterator[str]:
    for service, _ in services(app, expected):
        if service.error:
            yield (
                f"{service.name} cannot be asked: {service.error}; correct {service.variable}, or let this "
                "host reach it"
            )


def verified(app: Any, expected: Expected) -> Iterator[str]:
    """The URL of the inventory says it; the application may say something else."""
    for service, address in services(app, expected):
        if address.get("verified") and not service.error and not service.verified:
            yield (
                f"{service.name} does not have its certificate checked, as {service.variable} asks: "
                "anybody on the way could read and change what it has; give Celery the URL as it is in the "
                "environment, and do not set broker_use_ssl or redis_backend_use_ssl"
            )


def eviction(app: Any, expected: Expected) -> Iterator[str]:
    for service in answering(app, expected, "app_broker_url"):
        policy = service.told.get("maxmemory_policy")
        if policy is None:
            yield service.unseen(
                "maxmemory-policy",
                "it must be noeviction, or tasks are thrown away when its memory is full.",
            )
        elif policy != "noeviction":
            yield (
                f"the broker's maxmemory_policy is {policy}: when its memory is full it throws tasks away; "
                "set it to noeviction where the service is configured"
            )


def result_eviction(app: Any, expected: Expected) -> Iterator[str]:
    broker = expected["broker"]
    if broker.get("managed") and all(broker[key] == expected["results"][key] for key in ("host", "port")):
        return
    for service in answering(app, expected, "app_result_url"):
        policy = service.told.get("maxmemory_policy")
        if policy is None:
            yield service.unseen(
                "maxmemory-policy",
                "with another one than noeviction results are gone when its memory is full.",
            )
        elif policy != "noeviction":
            yield (
                f"the maxmemory_policy of the results is {policy}: when its memory is full, results go that "
                "nobody has read yet, and a chord waits for ever; set it to noeviction where the service is "
                "configured, or waive this rule if nobody misses a result"
            )


def durability(app: Any, expected: Expected) -> Iterator[str]:
    for service in answering(app, expected, "app_broker_url"):
        persists = service.told.get("aof_enabled")
        if persists is None:
            yield service.unseen("appendonly", "it should be yes, or a restart forgets tasks.")
        elif persists not in (1, "yes"):
            yield (
                "the broker's appendonly is off: a restart forgets the tasks of the last minutes, or all; "
                "switch it on where the service is configured"
            )
        for name in ("aof_last_write_status", "rdb_last_bgsave_status"):
            if service.told.get(name, "ok") != "ok":
                yield (
                    f"the broker's {name} is {service.told[name]}: it could not write to its disk, and may "
                    "refuse tasks; look into the service's log"
                )


def result_retry(app: Any, _: Expected) -> Iterator[str]:
    if result_url(app) and app.conf.result_backend_always_retry is not True:
        yield (
            f"{setting('result_backend_always_retry')} is {app.conf.result_backend_always_retry}: a task "
            "that ends while Redis is away is marked as failed; set it to True"
        )


def visibility_timeout(app: Any, expected: Expected) -> Iterator[str]:
    wanted = expected["visibility_timeout"]
    names = ["broker_transport_options"] + ["result_backend_transport_options"] * bool(result_url(app))
    for name in names:
        value = (app.conf[name] or {}).get("visibility_timeout", DEFAULT_VISIBILITY_TIMEOUT)
        if value != wanted:
            yield (
                f"{setting(name)} has visibility_timeout {value}: celery_visibility_timeout of the inventory "
                f"is {wanted}, and the shortest of all clients is the one that counts; make them the same"
            )


def key_prefix(app: Any, expected: Expected) -> Iterator[str]:
    wanted = expected["key_prefix"]
    names = ["broker_transport_options"] + ["result_backend_transport_options"] * bool(result_url(app))
    for name in names if wanted else []:
        value = (app.conf[name] or {}).get("global_keyprefix", "")
        if value != wanted:
            yield (
                f"{setting(name)} has global_keyprefix '{value}': app_redis_key_prefix of the inventory is "
                f"'{wanted}', and Redis refuses other keys to the application; read it there from the "
                "environment, where it is REDIS_KEY_PREFIX"
            )


# --- Queues


def queue_name(queue: Any) -> str:
    """Return the name by which a worker is told to consume a queue."""
    return str(queue if isinstance(queue, str) else getattr(queue, "alias", None) or queue.name)


def destination(app: Any, task: str, options: Mapping[str, Any]) -> str | None:
    """Return the queue to which Celery sends a task, or None where an exchange decides.

    Raises whatever a router of the application raises for a task without arguments.
    """
    own = app.tasks.get(task)
    given = {key: value for key in ("queue", "exchange", "routing_key") if (value := getattr(own, key, None))}
    route = app.amqp.router.route({**given, **options}, task, (), {}, task_type=own)
    if queue := route.get("queue"):
        return queue_name(queue)
    return None if route.get("exchange") or route.get("routing_key") else str(app.conf.task_default_queue)


def own_tasks(app: Any) -> list[str]:
    return sorted(name for name in app.tasks if not name.startswith("celery."))


def unconsumed(what: str, queue: str, expected: Expected) -> str:
    return (
        f"{what} '{queue}': no worker pool consumes that queue, so its tasks would wait for ever; use one of "
        f"{', '.join(sorted(expected['queues']))}, or add the queue to a pool of celery_worker_pools"
    )


def default_queue(app: Any, expected: Expected) -> Iterator[str]:
    if app.conf.task_default_queue not in expected["queues"]:
        yield unconsumed(f"{setting('task_default_queue')} is", app.conf.task_default_queue, expected)


def queues(app: Any, expected: Expected) -> Iterator[str]:
    declared = app.conf.task_queues or ()
    for name in map(queue_name, declared):
        if name not in expected["queues"]:
            yield unconsumed(f"{setting('task_queues')} has", name, expected)


def as_written(pattern: Any) -> str:
    """Return a pattern of task_routes, which Celery has made a regular expression of if it has a star."""
    text = str(getattr(pattern, "pattern", pattern))
    if not text.startswith("(?s:"):
        return text
    return re.sub(r"\\(.)", r"\1", text[len("(?s:") : text.rindex(")")].replace(".*", "*"))


def explicit_routes(app: Any) -> Iterator[tuple[str, str]]:
    """Yield each pattern of task_routes that names a queue, and the queue."""
    for router in app.amqp.router.routes:
        if isinstance(router, MapRoute):
            for pattern, route in (router.map | router.patterns).items():
                queue = route if isinstance(route, str) else dict(route).get("queue")
                if queue:
                    yield as_written(pattern), queue_name(queue)


def routes(app: Any, expected: Expected) -> Iterator[str]:
    for pattern, queue in explicit_routes(app):
        if queue not in expected["queues"]:
            yield unconsumed(f"{setting('task_routes')} sends {pattern} to", queue, expected)
    lost: dict[str, list[str]] = {}
    for task in own_tasks(app):
        try:
            queue_or_none = destination(app, task, {})
        except Exception as error:  # noqa: BLE001 - a router is the application's code, 2026-11-23
            yield (
                f"{setting('task_routes')} cannot tell the queue of {task}: {error!r}; let the router answer "
                "for a task without arguments as well, and name only queues that are there"
            )
            continue
        if queue_or_none and queue_or_none not in expected["queues"]:
            lost.setdefault(queue_or_none, []).append(task)
    for queue, tasks in lost.items():
        yield unconsumed(f"the tasks {listing(tasks)} go to", queue, expected)


# --- Periodic tasks


def beat_entries(app: Any) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield name, task and options of each entry, which may be a dictionary or an object."""
    for name, entry in (app.conf.beat_schedule or {}).items():
        values = entry if isinstance(entry, Mapping) else vars(entry)
        yield str(name), str(values["task"]), values.get("options") or {}


def beat_queues(app: Any, expected: Expected) -> Iterator[str]:
    for name, _, options in beat_entries(app):
        if "queue" in options and (queue := queue_name(options["queue"])) not in expected["queues"]:
            yield unconsumed(f"{setting('beat_schedule')}, entry {name}, has the queue", queue, expected)


def beat_tasks(app: Any, _: Expected) -> Iterator[str]:
    for name, task, _options in beat_entries(app):
        if task not in app.tasks:
            yield (
                f"{setting('beat_schedule')}, entry {name}, has the task '{task}': no such task is "
                "registered, so the workers would refuse it; correct the name, or have its module imported"
            )


# --- Messages and limits


def serializers(app: Any, _: Expected) -> Iterator[str]:
    for name in ("task_serializer", "result_serializer"):
        if app.conf[name] != "json":
            yield f"{setting(name)} is {app.conf[name]!r}: messages are JSON here; set it to 'json'"
    other = {task for task in own_tasks(app) if app.tasks[task].serializer != app.conf.task_serializer}
    if wrong := [task for task in other if app.tasks[task].serializer != "json"]:
        yield f"the tasks {listing(wrong)} have a serializer of their own: messages are JSON here; remove it"
    for name in ("accept_content", "result_accept_content"):
        accepted = app.conf[name] or ()
        if unsafe := UNSAFE_CONTENT.intersection([accepted] if isinstance(accepted, str) else accepted):
            yield (
                f"{setting(name)} has {listing(unsafe)}: whoever reaches the broker could run code with it; "
                "set it to ['json']"
            )


def time_limit(app: Any, expected: Expected) -> Iterator[str]:
    timeout, margin = expected["visibility_timeout"], expected["time_limit_margin"]
    limits = {setting("task_time_limit"): app.conf.task_time_limit}
    limits |= {f"time_limit of the task {task}": app.tasks[task].time_limit for task in own_tasks(app)}
    for name, limit in limits.items():
        if limit and limit + margin > timeout:
            yield (
                f"{name} is {limit}: celery_visibility_timeout ({timeout}) must be at least {margin} s more, "
                "or a task that still runs is started again; lower the one or raise the other"
            )


def acks_late(app: Any, _: Expected) -> Iterator[str]:
    if app.conf.task_acks_late is not True:
        yield (
            f"{setting('task_acks_late')} is {app.conf.task_acks_late}: a task is lost when its worker dies "
            "or is stopped; set it to True, and acks_late=False on a task that must never run twice"
        )


def connection_loss(app: Any, _: Expected) -> Iterator[str]:
    if app.conf.worker_cancel_long_running_tasks_on_connection_loss:
        yield (
            f"{setting('worker_cancel_long_running_tasks_on_connection_loss')} is True: a short outage of "
            "Redis kills or loses the tasks that run; set it to False"
        )


RULES: dict[str, Callable[[Any, Expected], Iterator[str]]] = {
    "broker": broker,
    "results": results,
    "reachable": reachable,
    "verified": verified,
    "eviction": eviction,
    "result-eviction": result_eviction,
    "durability": durability,
    "default-queue": default_queue,
    "queues": queues,
    "routes": routes,
    "beat-queues": beat_queues,
    "beat-tasks": beat_tasks,
    "serializers": serializers,
    "visibility-timeout": visibility_timeout,
    "key-prefix": key_prefix,
    "time-limit": time_limit,
    "acks-late": acks_late,
    "connection-loss": connection_loss,
    "result-retry": result_retry,
}


def problems(app: Any, expected: Expected) -> Iterator[str]:
    """Yield a line for each problem, beginning with the rule's id."""
    for rule in expected["waived"]:
        if rule not in RULES:
            yield f"waived: celery_audit_waived has '{rule}', which is no rule; there are {', '.join(RULES)}"
    for rule, check in RULES.items():
        if rule not in expected["waived"]:
            yield from (type(problem)(f"{rule}: {problem}") for problem in check(app, expected))


def load(application: str) -> Any:
    """Return the application with all modules imported, as a worker does. Raises whatever they raise."""
    app = find_app(application)
    app.loader.import_default_modules()
    app.finalize()
    return app


def main(application: str, expected: str) -> int:
    """Return the exit status: 0 if no rule is broken, else 1."""
    try:
        app = load(application)
    # SystemExit: an application that ends the process while it is loaded would otherwise pass.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the application raises is reported, 2026-11-23
        lines = "".join(traceback.format_exception(error)).splitlines()[-TRACEBACK_LINES:]
        print(f"The Celery application {application} cannot be loaded. The last lines:", file=sys.stderr)
        print(masked("\n".join(lines)), file=sys.stderr)
        return 1
    found = list(problems(app, json.loads(expected)))
    refused = [problem for problem in found if not isinstance(problem, Unseen)]
    for problem in refused:
        print(masked(problem), file=sys.stderr)
    # In a run's output these are told apart from what the application itself prints.
    for problem in found:
        if isinstance(problem, Unseen):
            print(f"Not seen: {masked(problem)}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
