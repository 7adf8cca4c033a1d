"""Audit the application's own Celery configuration against the inventory, before anything of a release runs.

Runs in the application's environment, virtual environment and release directory. Arguments: the Celery
application; a JSON object (see Expected). Exit status 1 if a rule is broken or the application cannot be
loaded, with one line for each problem on stderr, and then the settings that the inventory lacks. What a
service does not tell is a line on stdout that begins with "Not seen: ", a version that the tests do not know
one with "Not tried: ". Passwords in URLs are masked.
"""

import difflib
import functools
import json
import os
import re
import ssl
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, NotRequired, TypedDict
from urllib.parse import parse_qs, urlsplit

from celery.app.defaults import _TO_NEW_KEY, DEFAULTS, NAMESPACES, flatten
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


#: The first and the last version of Celery and of kombu that the tests run.
FIRST_TRIED, LAST_TRIED = (5, 3), (5, 7)
#: A JSON object in the environment; rootstock_worker.settings has applied it.
GIVEN_VARIABLE = "ROOTSTOCK_CELERY_SETTINGS"

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


# --- What is found


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {flow(item)}" for name, item in value.items()) + "}"
    return json.dumps(value)


@dataclass(frozen=True)
class Finding:
    """A problem, or with a note ("Not seen") something that is only said."""

    says: str
    #: What to type; for settings that lines of the inventory set it may be empty.
    fix: str = ""
    #: What celery_settings lacks.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: What is lost if the rule is waived; empty where that is no choice.
    waived: str = ""
    note: str = ""

    def line(self, rule: str) -> str:
        """Return it as a line."""
        paste = f"write celery_settings: {flow(self.settings)} into the inventory" if self.settings else ""
        text = f"{self.note}: " * bool(self.note) + f"{rule}: {self.says}."
        if fix := "; or ".join(filter(None, [paste, self.fix])):
            text += f" Fix: {fix}."
        if self.waived:
            text += f" With celery_audit_waived: [{rule}] instead, {self.waived}."
        return text


def given() -> dict[str, Any]:
    """Return celery_settings of the inventory."""
    found: dict[str, Any] = json.loads(os.environ.get(GIVEN_VARIABLE) or "{}")
    return found


def together(settings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return settings as one dictionary; options of the same transport are one."""
    found: dict[str, Any] = {}
    for each in settings:
        for name, value in each.items():
            if isinstance(value, Mapping) and isinstance(found.get(name), Mapping):
                found[name] = {**found[name], **value}
            else:
                found[name] = value
    return found


def block(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that set celery_settings in the inventory."""
    yield "celery_settings:"
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield f"  {name}:"
            yield from (f"    {key}: {flow(item)}" for key, item in value.items())
        else:
            yield f"  {name}: {flow(value)}"


# --- Versions and the inventory's settings


def series(package: str) -> tuple[int, ...]:
    """Return the first two numbers of a package's version."""
    return tuple(map(int, re.findall(r"\d+", version(package))[:2]))


def versions(_: Any, __: Expected) -> Iterator[Finding]:
    tried = f"{'.'.join(map(str, FIRST_TRIED))} to {'.'.join(map(str, LAST_TRIED))}"
    has = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis"))
    if series("celery") < FIRST_TRIED:
        yield Finding(
            f"the release has {has}: Rootstock's workers need celery {tried}",
            "require celery[redis]>=5.3 in the application's requirements",
        )
    elif max(series("celery"), series("kombu")) > LAST_TRIED:
        yield Finding(
            f"the release has {has}: Rootstock's tests run celery and kombu {tried}", note="Not tried"
        )


def unknown(name: str, value: Any) -> Finding:
    """Return that Celery has no such setting, and what may be meant: another spelling, or a similar name."""
    says = f"celery_settings has {name}, and Celery {version('celery')} has no such setting"
    bare = name.lower().removeprefix("celery_")
    for spelling in (_TO_NEW_KEY.get(name), name.lower(), bare):
        if spelling in DEFAULTS:
            return Finding(f"{says}: its name is {spelling}", settings={spelling: value})
    similar = difflib.get_close_matches(bare, DEFAULTS, n=3, cutoff=0.7)
    instead = f"write {' or '.join(similar)} instead" if similar else f"remove {name}"
    return Finding(f"{says}: it would have no effect", instead)


def wrong_settings() -> Iterator[tuple[str, Finding]]:
    """Yield what is wrong with celery_settings, by name."""
    kinds = {name: option.type for name, option in flatten(NAMESPACES)}
    for name, value in given().items():
        if name not in DEFAULTS:
            yield name, unknown(name, value)
        elif isinstance(value, str) and kinds[name] in ("bool", "int", "float"):
            wanted = "true or false" if kinds[name] == "bool" else "a number"
            yield (
                name,
                Finding(
                    f"celery_settings.{name} is {flow(value)}: it is text, and must be {wanted}",
                    f"write {name}: {'true' if kinds[name] == 'bool' else 10} without quotes",
                ),
            )


def settings(_: Any, __: Expected) -> Iterator[Finding]:
    yield from (finding for _, finding in wrong_settings())


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


def environment_name(name: str) -> str:
    """Return how the application gets the address that a setting needs."""
    standard = "CELERY_RESULT_BACKEND" if name == "result_backend" else "CELERY_BROKER_URL"
    return (
        f"write app_environment_names: {{{standard}: NAME}} into the inventory, with the NAME by which the "
        "application's settings read it from the environment"
    )


def wrong_address(name: str, url: str, expected: Address) -> Iterator[Finding]:
    """Yield a problem for each address in a URL, which may list several, that is not the expected one."""
    for part in url.split(";"):
        if found := differences(part, expected):
            yield Finding(
                f"{setting(name)} has {', '.join(found)}: the application must use the inventory's Redis",
                environment_name(name),
            )


def broker(app: Any, expected: Expected) -> Iterator[Finding]:
    urls = {name: getattr(app.conf, name) for name in ("broker_read_url", "broker_write_url")}
    if urls["broker_read_url"] == urls["broker_write_url"]:
        urls = {"broker_url": urls["broker_read_url"]}
    for name, value in urls.items():
        for url in [value] if isinstance(value, str) else value or ["(unset)"]:
            scheme = url.partition("://")[0]
            if scheme in REDIS_SCHEMES:
                yield from wrong_address(name, url, expected["broker"])
            else:
                yield Finding(
                    f"{setting(name)} is {url}: the workers' broker is Redis", environment_name(name)
                )


def result_url(app: Any) -> str:
    """Return the URL of the result backend if that is Redis, else an empty string."""
    backend = app.conf.result_backend
    if backend == "redis":
        return "redis://"
    is_redis = isinstance(backend, str) and backend.partition("://")[0] in REDIS_SCHEMES
    return backend if is_redis else ""


def results(app: Any, expected: Expected) -> Iterator[Finding]:
    yield from (
        wrong_address("result_backend", result_url(app), expected["results"]) if result_url(app) else ()
    )


# --- Redis that others run


@dataclass(frozen=True)
class Service:
    """What a Redis that others run says of itself."""

    name: str
    variable: str
    host: str
    told: dict[str, Any] = field(default_factory=dict)
    verified: bool = False
    error: str = ""

    def unseen(self, what: str, wanted: str) -> Finding:
        """Return that a setting could not be seen, and what it has to be."""
        return Finding(
            f"{self.name} at {self.host} does not tell its {what}: INFO and CONFIG are forbidden there, or "
            f"do not have it. Look it up where the service is configured: {wanted}",
            note="Not seen",
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


def reachable(app: Any, expected: Expected) -> Iterator[Finding]:
    for service, _ in services(app, expected):
        if service.error:
            yield Finding(
                f"{service.name} cannot be asked: {service.error}",
                f"correct {service.variable}, or let this host reach it",
            )


def verified(app: Any, expected: Expected) -> Iterator[Finding]:
    """The URL of the inventory says it; the application may say something else."""
    for service, address in services(app, expected):
        if address.get("verified") and not service.error and not service.verified:
            name = {"app_broker_url": "broker_use_ssl", "app_result_url": "redis_backend_use_ssl"}[
                service.variable
            ]
            yield Finding(
                f"{service.name} does not have its certificate checked, as {service.variable} asks: "
                "anybody on the way could read and change what it has",
                "" if app.conf[name] else "give Celery the URL as it is in the environment",
                {name: DEFAULTS[name]} if app.conf[name] else {},
            )


def eviction(app: Any, expected: Expected) -> Iterator[Finding]:
    for service in answering(app, expected, "app_broker_url"):
        policy = service.told.get("maxmemory_policy")
        if policy is None:
            yield service.unseen(
                "maxmemory-policy",
                "it must be noeviction, or tasks are thrown away when its memory is full",
            )
        elif policy != "noeviction":
            yield Finding(
                f"the broker's maxmemory_policy is {policy}: when its memory is full it throws tasks away",
                "set it to noeviction where the service is configured",
            )


def result_eviction(app: Any, expected: Expected) -> Iterator[Finding]:
    broker = expected["broker"]
    if broker.get("managed") and all(broker[key] == expected["results"][key] for key in ("host", "port")):
        return
    for service in answering(app, expected, "app_result_url"):
        policy = service.told.get("maxmemory_policy")
        if policy is None:
            yield service.unseen(
                "maxmemory-policy",
                "with another one than noeviction results are gone when its memory is full",
            )
        elif policy != "noeviction":
            yield Finding(
                f"the maxmemory_policy of the results is {policy}: when its memory is full, results go that "
                "nobody has read yet, and a chord waits for ever",
                "set it to noeviction where the service is configured",
                waived="results may be gone before they are read",
            )


def durability(app: Any, expected: Expected) -> Iterator[Finding]:
    for service in answering(app, expected, "app_broker_url"):
        persists = service.told.get("aof_enabled")
        if persists is None:
            yield service.unseen("appendonly", "it should be yes, or a restart forgets tasks")
        elif persists not in (1, "yes"):
            yield Finding(
                "the broker's appendonly is off: a restart forgets the tasks of the last minutes, or all",
                "switch it on where the service is configured",
                waived="a restart of the service loses tasks",
            )
        for name in ("aof_last_write_status", "rdb_last_bgsave_status"):
            if service.told.get(name, "ok") != "ok":
                yield Finding(
                    f"the broker's {name} is {service.told[name]}: it could not write to its disk, and may "
                    "refuse tasks",
                    "look into the service's log",
                )


def result_retry(app: Any, _: Expected) -> Iterator[Finding]:
    if result_url(app) and app.conf.result_backend_always_retry is not True:
        yield Finding(
            f"{setting('result_backend_always_retry')} is {app.conf.result_backend_always_retry}: a task "
            "that ends while Redis is away is marked as failed",
            settings={"result_backend_always_retry": True},
            waived="such a task counts as failed though its work is done",
        )


def visibility_timeout(app: Any, expected: Expected) -> Iterator[Finding]:
    wanted = expected["visibility_timeout"]
    names = ["broker_transport_options"] + ["result_backend_transport_options"] * bool(result_url(app))
    for name in names:
        value = (app.conf[name] or {}).get("visibility_timeout", DEFAULT_VISIBILITY_TIMEOUT)
        if value != wanted:
            yield Finding(
                f"{setting(name)} has visibility_timeout {value}: celery_visibility_timeout of the inventory "
                f"is {wanted}, and the shortest of all clients is the one that counts",
                settings={name: {"visibility_timeout": wanted}},
                waived="the inventory's time limits are checked against a timeout that does not apply, and "
                "long tasks may run twice",
            )


def key_prefix(app: Any, expected: Expected) -> Iterator[Finding]:
    wanted = expected["key_prefix"]
    names = ["broker_transport_options"] + ["result_backend_transport_options"] * bool(result_url(app))
    for name in names if wanted else []:
        value = (app.conf[name] or {}).get("global_keyprefix", "")
        if value != wanted:
            yield Finding(
                f"{setting(name)} has global_keyprefix '{value}': app_redis_key_prefix of the inventory is "
                f"'{wanted}', and Redis refuses other keys to the application",
                "let the application's settings read REDIS_KEY_PREFIX from the environment",
                {name: {"global_keyprefix": wanted}},
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


def unconsumed(
    what: str, queue: str, expected: Expected, settings: Mapping[str, Any] | None = None
) -> Finding:
    return Finding(
        f"{what} '{queue}': no worker pool consumes that queue, so its tasks would wait for ever",
        f"use one of {', '.join(sorted(expected['queues']))}, or add the queue to a pool of "
        "celery_worker_pools",
        settings or {},
    )


def default_queue(app: Any, expected: Expected) -> Iterator[Finding]:
    if (queue := app.conf.task_default_queue) not in expected["queues"]:
        instead = sorted(expected["queues"], key=lambda name: (name != "default", name))[0]
        yield unconsumed(
            f"{setting('task_default_queue')} is", queue, expected, {"task_default_queue": instead}
        )


def queues(app: Any, expected: Expected) -> Iterator[Finding]:
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


def routes(app: Any, expected: Expected) -> Iterator[Finding]:
    for pattern, queue in explicit_routes(app):
        if queue not in expected["queues"]:
            yield unconsumed(f"{setting('task_routes')} sends {pattern} to", queue, expected)
    lost: dict[str, list[str]] = {}
    for task in own_tasks(app):
        try:
            queue_or_none = destination(app, task, {})
        except Exception as error:  # noqa: BLE001 - a router is the application's code, 2026-11-23
            yield Finding(
                f"{setting('task_routes')} cannot tell the queue of {task}: {error!r}",
                "let the router answer for a task without arguments as well, and name only queues that "
                "are there",
            )
            continue
        if queue_or_none and queue_or_none not in expected["queues"]:
            lost.setdefault(queue_or_none, []).append(task)
    # That of the default queue is a problem already.
    if "default-queue" not in expected["waived"]:
        lost.pop(app.conf.task_default_queue, None)
    for queue, tasks in lost.items():
        yield unconsumed(f"the tasks {listing(tasks)} go to", queue, expected)


# --- Periodic tasks


def beat_entries(app: Any) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield name, task and options of each entry, which may be a dictionary or an object."""
    for name, entry in (app.conf.beat_schedule or {}).items():
        values = entry if isinstance(entry, Mapping) else vars(entry)
        yield str(name), str(values["task"]), values.get("options") or {}


def beat_queues(app: Any, expected: Expected) -> Iterator[Finding]:
    for name, _, options in beat_entries(app):
        if "queue" in options and (queue := queue_name(options["queue"])) not in expected["queues"]:
            yield unconsumed(f"{setting('beat_schedule')}, entry {name}, has the queue", queue, expected)


def beat_tasks(app: Any, _: Expected) -> Iterator[Finding]:
    for name, task, _options in beat_entries(app):
        if task not in app.tasks:
            yield Finding(
                f"{setting('beat_schedule')}, entry {name}, has the task '{task}': no such task is "
                "registered, so the workers would refuse it",
                "correct the name, or write celery_settings: {imports: [MODULE]} with the task's module",
            )


# --- Messages and limits


def serializers(app: Any, _: Expected) -> Iterator[Finding]:
    for name in ("task_serializer", "result_serializer"):
        if app.conf[name] != "json":
            yield Finding(
                f"{setting(name)} is {app.conf[name]!r}: messages are JSON here", settings={name: "json"}
            )
    other = {task for task in own_tasks(app) if app.tasks[task].serializer != app.conf.task_serializer}
    if wrong := [task for task in other if app.tasks[task].serializer != "json"]:
        yield Finding(
            f"the tasks {listing(wrong)} have a serializer of their own: messages are JSON here",
            "remove it from the tasks",
        )
    for name in ("accept_content", "result_accept_content"):
        accepted = app.conf[name] or ()
        if unsafe := UNSAFE_CONTENT.intersection([accepted] if isinstance(accepted, str) else accepted):
            yield Finding(
                f"{setting(name)} has {listing(unsafe)}: whoever reaches the broker could run code with it",
                settings={name: ["json"]},
                waived="whoever can write to the broker can run code in the workers",
            )


def time_limit(app: Any, expected: Expected) -> Iterator[Finding]:
    timeout, margin = expected["visibility_timeout"], expected["time_limit_margin"]
    limits = {setting("task_time_limit"): app.conf.task_time_limit}
    limits |= {f"time_limit of the task {task}": app.tasks[task].time_limit for task in own_tasks(app)}
    for name, limit in limits.items():
        if limit and limit + margin > timeout:
            yield Finding(
                f"{name} is {limit}: celery_visibility_timeout ({timeout}) must be at least {margin} s more, "
                "or a task that still runs is started again",
                f"lower the limit, or write celery_visibility_timeout: {limit + margin} into the inventory",
            )


def acks_late(app: Any, _: Expected) -> Iterator[Finding]:
    if app.conf.task_acks_late is not True:
        yield Finding(
            f"{setting('task_acks_late')} is {app.conf.task_acks_late}: a task is lost when its worker dies "
            "or is stopped. With task_acks_late a task may run twice; one that must not says acks_late=False "
            "itself, which stays",
            settings={"task_acks_late": True},
            waived="a worker that dies or is stopped loses the tasks that it has begun",
        )


def connection_loss(app: Any, _: Expected) -> Iterator[Finding]:
    if app.conf.worker_cancel_long_running_tasks_on_connection_loss:
        yield Finding(
            f"{setting('worker_cancel_long_running_tasks_on_connection_loss')} is True: a short outage of "
            "Redis kills or loses the tasks that run",
            settings={"worker_cancel_long_running_tasks_on_connection_loss": False},
            waived="a short outage of Redis kills or loses running tasks",
        )


RULES: dict[str, Callable[[Any, Expected], Iterator[Finding]]] = {
    "versions": versions,
    "settings": settings,
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


def findings(app: Any, expected: Expected) -> Iterator[tuple[str, Finding]]:
    """Yield what is found, with the rule."""
    for rule in expected["waived"]:
        if rule not in RULES:
            yield (
                "waived",
                Finding(
                    f"celery_audit_waived has '{rule}', which is no rule; there are {', '.join(RULES)}",
                    "correct the name, or remove it",
                ),
            )
    for rule, check in RULES.items():
        if rule not in expected["waived"]:
            yield from ((rule, finding) for finding in check(app, expected))


def whole(found: Iterable[Finding]) -> Iterator[str]:
    """Yield the lines that set all settings that are missing, beside those that are there and right."""
    if missing := together(finding.settings for finding in found):
        wrong = {name for name, _ in wrong_settings()}
        right = {name: value for name, value in given().items() if name not in wrong}
        yield "Fix of all settings above, for the inventory (docs/your-app.md, Celery settings):"
        yield from block(together([right, missing]))


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
    found = list(findings(app, json.loads(expected)))
    refused = [finding for _, finding in found if not finding.note]
    for rule, finding in found:
        # In a run's output notes are told apart from what the application itself prints.
        print(masked(finding.line(rule)), file=sys.stdout if finding.note else sys.stderr)
    for line in whole(refused):
        print(masked(line), file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
