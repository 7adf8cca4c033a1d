# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible filter: what the hosts have told about themselves, judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

DOCUMENTATION = r"""
name: status_report
short_description: Judge what C(playbooks/status.yml) has seen
description:
  - Takes what each host has told, and returns the figures by application and every reason why something is
    not healthy. The fields are in C(docs/status.md).
options:
  _input:
    description: >-
      A list of dictionaries, one for each host: C(host), C(app), C(groups) and C(look), the result of the
      task that looked at it.
    type: list
    elements: dict
    required: true
author: Rootstock contributors
"""

EXAMPLES = r"""
- name: Judge
  ansible.builtin.set_fact:
    status: "{{ seen | status_report }}"
"""

RETURN = r"""
_value:
  description: C(state), C(reasons) and C(apps).
  type: dict
"""

HEALTHY, WARNING, UNHEALTHY = "healthy", "warning", "unhealthy"
STATES = (HEALTHY, WARNING, UNHEALTHY)

# Below these PostgreSQL and Redis are about to stop writing, and a release no longer fits.
DISK_FREE_SHARE = 0.05
DISK_FREE_BYTES = 500 * 1000**2
# Redis refuses every task at its limit; this leaves time to look why the queues grow.
MEMORY_SHARE = 0.9
# A week is what it may take to get one by hand. Certificates that renew themselves do so 30 days before.
CERTIFICATE_DAYS = 7
CERTIFICATE_WARNING_DAYS = 21
# Celery's PersistentScheduler writes its file when 180 s have passed, but looks only when it wakes up, at the
# latest after beat_max_loop_interval. The rest is for a server that is busy.
BEAT_SYNC_SECONDS = 180
BEAT_MARGIN_SECONDS = 120
# Celery's own, where the application could not be asked.
BEAT_MAX_LOOP_INTERVAL = 300
# Kombu looks for messages beyond the visibility timeout about every 100 s.
RESTORE_SECONDS = 120
# A worker says about every 15 s that it lives, and up to 25 s late after a broken connection.
SILENT_SECONDS = 60
# From a task's end until Redis has its acknowledgement: a broken connection is there again within 25 s. The
# rest is for the ETA, which is by the clock of the host that published the message.
ACKNOWLEDGE_SECONDS = 60
# Has the schedule in a file of its own; others keep it elsewhere.
FILE_SCHEDULERS = ("celery.beat:PersistentScheduler", "celery.beat.PersistentScheduler")
# States of Supervisor in which a program's process is there: a draining worker is one that is STOPPING.
PRESENT = {"STARTING", "RUNNING", "STOPPING"}
# What hosts of a group run, by the beginning of the program's name after the application's.
PROGRAMS_OF_GROUPS = {"web": "web.", "workers": "worker-", "beat": "beat", "flower": "flower"}


class Reason(TypedDict):
    """Why something is not healthy; text has all of it but the application in one line."""

    state: str
    app: str
    host: str
    what: str
    value: str
    rule: str
    do: str
    text: str


class Program(TypedDict):
    """A Supervisor program; age in seconds, wanted: a file names it."""

    name: str
    state: str
    age: float | None
    wanted: bool
    detail: str


class Timer(TypedDict):
    """A management command that systemd runs; result: empty before the first run, age: since the last one."""

    name: str
    waits: bool
    result: str
    age: float | None


class Disk(TypedDict):
    """A file system; sizes in bytes."""

    path: str
    total: int
    free: int


class Host(TypedDict):
    """What a host has told; ages in seconds."""

    name: str
    reached: bool
    groups: list[str]
    release: str
    generation: str
    programs: list[Program]
    web: str | None
    edge: str | None
    certificate_days: float | None
    beat_tick_age: float | None
    member: str | None
    timers: list[Timer]
    disks: list[Disk]


class Queue(TypedDict):
    """A queue; consumers: worker nodes, None if they could not be asked."""

    name: str
    waiting: int
    oldest_waiting: float | None
    unacknowledged: int
    oldest_unacknowledged: float | None
    consumers: int | None
    pools: list[str]


class Holder(TypedDict):
    """A worker process that holds messages; without a node: all without the package. Ages in seconds."""

    node: str
    program: str
    unacknowledged: int
    oldest_unacknowledged: float | None
    oldest_due: float | None
    task: str
    time_limit: float | None
    prefetch_multiplier: int
    seen: float | None
    alive: bool | None
    recovered_by: list[str]


class Broker(TypedDict):
    """A broker of an application; sizes in bytes, times in seconds, None for what Redis did not tell."""

    hosts: list[str]
    used_memory: int | None
    maxmemory: int | None
    maxmemory_policy: str | None
    aof_enabled: bool | None
    aof_last_write_status: str | None
    aof_last_bgrewrite_status: str | None
    loading: bool | None
    visibility_timeout: float
    unacknowledged: int
    dead_letters: int
    holders: list[Holder]
    queues: list[Queue]


class App(TypedDict):
    """An application."""

    name: str
    state: str
    hosts: list[Host]
    brokers: list[Broker]


class Report(TypedDict):
    """All of it."""

    state: str
    reasons: list[Reason]
    apps: list[App]


class Finding(NamedTuple):
    """A reason before it is known of which host it is."""

    what: str
    value: str
    rule: str
    do: str
    state: str = UNHEALTHY


def megabytes(size: float) -> str:
    """A number of bytes in the unit of the limits above."""
    return f"{size / 1000**2:.0f} MB"


def worst(states: Iterable[str]) -> str:
    """The worst of some states; healthy if there are none."""
    return max(states, key=STATES.index, default=HEALTHY)


# --- One host


def value_of(look: Mapping[str, Any], part: str) -> Any:
    """What a part of the application has answered; None for an error or no answer."""
    return look.get("application", {}).get(part, {}).get("value")


def generation(look: Mapping[str, Any], app: str, groups: Iterable[str]) -> Iterator[Finding]:
    if not look["generation"] and set(groups) & set(PROGRAMS_OF_GROUPS):
        yield Finding("generation", "none is live", "a release serves on each host", "run site.yml")


def programs(look: Mapping[str, Any], app: str, groups: Iterable[str]) -> Iterator[Finding]:
    if look["supervisor"]:
        rule = "it runs the programs and says how they are"
        yield Finding("Supervisor", look["supervisor"], rule, "see systemctl status supervisor")
        return
    wanted = [program for program in look["programs"] if program["wanted"]]
    for program in wanted:
        if program["state"] not in ("RUNNING", "STARTING"):
            yield Finding(
                f"program {program['name']}",
                f"{program['state']} {program['detail']}".strip(),
                "what a file of Supervisor names runs",
                f"read /var/log/{app}/{program['name']}.log; deploy.yml starts it again",
            )
    for group in groups if look["generation"] else ():
        prefix = PROGRAMS_OF_GROUPS.get(group)
        if prefix and not any(program["name"].startswith(f"{app}-{prefix}") for program in wanted):
            rule = "a host of the group runs what the group is for"
            yield Finding(f"group {group}", "no program for it", rule, "run site.yml")


def web(look: Mapping[str, Any], app: str, _: Iterable[str]) -> Iterator[Finding]:
    if look["web"] and look["generation"]:
        rule = "the readiness path answers 200"
        log = f"/var/log/{app}/{app}-web.{look['generation']}.log"
        yield Finding(f"/srv/{app}/web.sock", look["web"], rule, f"read {log}")


def edge(look: Mapping[str, Any], *_: object) -> Iterator[Finding]:
    if look["edge"]:
        rule = "a web server behind it answers 200 at the readiness path"
        do = "see the web servers' lines, and /var/log/nginx/error.log"
        yield Finding("port 443", look["edge"], rule, do)


def certificate(look: Mapping[str, Any], app: str, _: Iterable[str]) -> Iterator[Finding]:
    found = look["certificate"] or {}
    if "error" in found:
        do = "see systemctl status nginx and nginx -t"
        yield Finding("port 443", found["error"], "Nginx answers with a certificate", do)
    elif found and found["days"] < CERTIFICATE_WARNING_DAYS:
        time = f"{abs(found['days']):.0f} days"
        yield Finding(
            "certificate",
            f"ended {time} ago" if found["days"] < 0 else f"ends in {time}",
            f"at least {CERTIFICATE_DAYS} days, and {CERTIFICATE_WARNING_DAYS} to be safe",
            "renew the file of nginx_tls_certificate and run site.yml, which also renews a self-signed one",
            UNHEALTHY if found["days"] < CERTIFICATE_DAYS else WARNING,
        )


def beat(look: Mapping[str, Any], app: str, _: Iterable[str]) -> Iterator[Finding]:
    settings = value_of(look, "settings") or {}
    running = [p for p in look["programs"] if p["name"] == f"{app}-beat" and p["state"] == "RUNNING"]
    in_a_file = settings.get("beat_scheduler", FILE_SCHEDULERS[0]) in FILE_SCHEDULERS
    if not look["beat"] or not running or not in_a_file:
        return
    sleep = settings.get("beat_max_loop_interval", BEAT_MAX_LOOP_INTERVAL)
    limit = BEAT_SYNC_SECONDS + sleep + BEAT_MARGIN_SECONDS
    age = look["beat"]["age"]
    if (running[0]["age"] if age is None else age) > limit:
        yield Finding(
            "beat",
            "no schedule file" if age is None else f"last wrote its schedule {age:.0f} s ago",
            f"at most {limit:.0f} s ago",
            f"read /var/log/{app}/{app}-beat.log, then supervisorctl restart {app}-beat",
        )


def timers(look: Mapping[str, Any], app: str, _: Iterable[str]) -> Iterator[Finding]:
    for timer in look["timers"]:
        unit = f"rootstock-timer-{app}.{timer['name']}"
        if not timer["waits"]:
            do = f"systemctl start {unit}.timer"
            yield Finding(f"timer {timer['name']}", "does not wait for its next run", "it does", do)
        if timer["result"] not in ("", "success", "running"):
            yield Finding(
                f"timer {timer['name']}",
                f"its last run ended {timer['age']:.0f} s ago with {timer['result']}",
                "it ends with exit status 0 within its time limit",
                f"read journalctl --unit {unit}; systemctl start {unit} runs it again",
            )


def disks(look: Mapping[str, Any], app: str, _: Iterable[str]) -> Iterator[Finding]:
    for disk in look["disks"]:
        share = disk["free"] / disk["total"] if disk["total"] else 0.0
        if share < DISK_FREE_SHARE or disk["free"] < DISK_FREE_BYTES:
            free = f"{megabytes(disk['free'])} ({share:.0%}) free"
            rule = f"at least {DISK_FREE_SHARE:.0%} and {megabytes(DISK_FREE_BYTES)}"
            yield Finding(f"disk {disk['path']}", free, rule, "remove files or enlarge it")


def member(look: Mapping[str, Any], app: str, _: Iterable[str]) -> Iterator[Finding]:
    if look["member"]:
        rule = "each member of the set could be the primary, and enough Sentinels decide who is"
        do = "see systemctl status redis-server redis-sentinel and the log of Redis"
        yield Finding("member of the Redis set", look["member"], rule, do, WARNING)


REDIS = "see systemctl status redis-server on its host and its log, or the managed service"
REFUSED = "see what Redis refuses: its log, its memory, its users"
#: What a part of the application's answers is called, what to do when it fails.
CONNECTIONS = {
    "start": ("application", "see what <app>-manage check says on the server"),
    "run": ("application", "see what <app>-manage check says on the server"),
    "settings": ("application", "see what <app>-manage check says on the server"),
    "database": ("database", "see systemctl status postgresql on its host, or the managed service"),
    "cache": ("cache", REDIS),
    "broker": ("broker", REDIS),
    "results": ("result backend", REDIS),
    "queues": ("queues", REFUSED),
    "workers": ("workers", REFUSED),
}


def connections(look: Mapping[str, Any], app: str, _: Iterable[str]) -> Iterator[Finding]:
    for part, answer in look["application"].items():
        if "error" in answer:
            what, do = CONNECTIONS[part]
            yield Finding(what, answer["error"], "it answers the application", do.replace("<app>", app))
        elif part == "broker" and answer["value"] is None:
            do = "look at the broker by its own means"
            yield Finding("broker", "no Redis", "its queues are known", do, WARNING)
    workers = value_of(look, "workers") or {"nodes": {}, "expected": []}
    running = {program["name"] for program in look["programs"] if program["state"] == "RUNNING"}
    for node in workers["expected"]:
        if node not in workers["nodes"] and f"{app}-worker-{node.partition('@')[0]}" in running:
            do = "it may be starting or busy; else read its log and restart its program"
            yield Finding(f"worker {node}", "no answer", "each worker says what it consumes", do, WARNING)


CHECKS_OF_HOSTS: tuple[Callable[[Mapping[str, Any], str, Iterable[str]], Iterator[Finding]], ...] = (
    generation,
    programs,
    web,
    edge,
    certificate,
    beat,
    timers,
    disks,
    member,
    connections,
)


# --- One broker


def memory(broker: Broker) -> Iterator[Finding]:
    used, limit, policy = broker["used_memory"], broker["maxmemory"], broker["maxmemory_policy"] or ""
    if used is None or limit is None:
        do = "allow the user INFO (ACL: +info)"
        yield Finding("Redis", "INFO is refused", "memory and persistence are known", do, WARNING)
        return
    if policy.startswith("allkeys"):
        rule = "another policy than noeviction forgets tasks"
        yield Finding("Redis maxmemory-policy", policy, rule, "set it to noeviction", WARNING)
    if limit and used >= MEMORY_SHARE * limit:
        yield Finding(
            "Redis memory",
            f"{megabytes(used)} of {megabytes(limit)} ({used / limit:.0%})",
            f"below {MEMORY_SHARE:.0%}, because at 100 % every new task is refused",
            "see which queue grows and why, or raise redis_maxmemory and run site.yml",
            UNHEALTHY if used >= limit and policy == "noeviction" else WARNING,
        )


def persistence(broker: Broker) -> Iterator[Finding]:
    what, do = "Redis append-only file", "read Redis' log; is its disk full?"
    write, rewrite = broker["aof_last_write_status"], broker["aof_last_bgrewrite_status"]
    if broker["loading"]:
        yield Finding("Redis", "loads its data", "it takes tasks", "wait for it")
    if broker["aof_enabled"] is False:
        yield Finding(what, "off", "without it a crash loses what is queued", "set appendonly yes", WARNING)
    if write not in (None, "ok"):
        yield Finding(what, f"last write: {write}", "ok, or Redis refuses every new task", do)
    if rewrite not in (None, "ok"):
        yield Finding(what, f"last rewrite: {rewrite}", "ok, or the file only grows", do, WARNING)


def dead_letters(broker: Broker) -> Iterator[Finding]:
    if count := broker["dead_letters"]:
        rule = "none is set aside because no worker may run it"
        do = "see why with <app>-dead-letters list on a worker host, then replay or drop them"
        yield Finding("dead letters", f"{count} messages", rule, do, WARNING)


def queues(broker: Broker) -> Iterator[Finding]:
    for queue in broker["queues"]:
        what, pools = f"queue {queue['name']}", queue["pools"]
        if queue["consumers"] == 0 and (pools or queue["waiting"]):
            yield Finding(
                what,
                f"no consumer, {queue['waiting']} waiting",
                "a worker consumes it",
                f"see why no worker of pool {', '.join(pools)} answers"
                if pools
                else "add it to a pool of celery_worker_pools, or purge it",
            )


def holders(broker: Broker) -> Iterator[Finding]:
    for holder in broker["holders"]:
        if holder["alive"] is False:
            yield held_by_nobody(holder, broker["visibility_timeout"])
        elif found := held_too_long(holder, broker["visibility_timeout"]):
            yield found


def held_by_nobody(holder: Holder, visibility_timeout: float) -> Finding:
    count, oldest, seen = holder["unacknowledged"], holder["oldest_unacknowledged"] or 0, holder["seen"]
    silent = "does not answer" if seen is None else f"last said {seen:.0f} s ago that it lives"
    if holder["recovered_by"]:
        do = (
            f"wait: {holder['recovered_by'][0]} gives them back to their queues within about 10 s. Run make "
            "status again; if this line is still there, read the log of that worker"
        )
    else:
        back = max(0.0, visibility_timeout - oldest) + RESTORE_SECONDS
        do = (
            f"on {server_of(holder)}, type supervisorctl status and restart its workers: they give them back "
            "to their queues within about 10 s. If that server is gone for good, wait: another worker gives "
            f"the oldest back in at most {back:.0f} s, by the visibility timeout. Then run make status again"
        )
    return Finding(
        f"worker {holder['node']}",
        f"{count} unacknowledged message{'s' if count > 1 else ''} held by nobody alive, the oldest for "
        f"{oldest:.0f} s; the process {silent}",
        f"a worker says every 10 s that it lives; one that has not for {SILENT_SECONDS} s is dead",
        do,
    )


def held_too_long(holder: Holder, visibility_timeout: float) -> Finding | None:
    limit = visibility_timeout + RESTORE_SECONDS
    rule = f"delivered again after {visibility_timeout:.0f} s, the visibility timeout"
    do = "see why no worker does that: a worker that runs takes it"
    # The last of the messages that a process reserves waits for those before it.
    tasks, each = holder["prefetch_multiplier"], holder["time_limit"]
    if each and tasks and (soon := tasks * each + ACKNOWLEDGE_SECONDS) < limit:
        limit, program = soon, holder["program"]
        reserved = f"{tasks} reserved tasks of " if tasks > 1 else ""
        longest = f"{reserved}{each:.0f} s, the longest time limit"
        rule = f"at most {limit:.0f} s: {longest}, and {ACKNOWLEDGE_SECONDS} s"
        do = (
            f"on {server_of(holder)}, read the log of {program}, then type supervisorctl restart {program}: "
            "it gives back to its queue what it has not finished"
        )
    if (oldest := holder["oldest_due"]) is None or oldest <= limit:
        return None
    return Finding(
        f"worker {holder['node']}" if holder["node"] else "consumers without the package rootstock_worker",
        f"a message of task {holder['task'] or 'unknown'} unacknowledged for {oldest:.0f} s",
        rule,
        do,
    )


def server_of(holder: Holder) -> str:
    return holder["node"].rpartition("@")[2]


CHECKS_OF_BROKERS: tuple[Callable[[Broker], Iterator[Finding]], ...] = (
    memory,
    persistence,
    dead_letters,
    holders,
    queues,
)


# --- All of it


def seen(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """What a host has told, None and the reason if it has told nothing."""
    result = item["look"]
    try:
        return dict(json.loads(result["stdout"])), ""
    except (KeyError, ValueError):
        said = (result.get(key) for key in ("stderr", "module_stderr", "msg"))
        return None, next((str(text).strip().splitlines()[-1] for text in said if text), "no answer")


def as_host(item: Mapping[str, Any], look: Mapping[str, Any] | None) -> Host:
    """What the report has of a host."""
    found = look or {}
    return {
        "name": str(item["host"]),
        "reached": look is not None,
        "groups": [str(group) for group in item["groups"]],
        "release": found.get("release", ""),
        "generation": found.get("generation", ""),
        "programs": found.get("programs", []),
        "web": "ok" if found.get("web") == "" else found.get("web"),
        "edge": "ok" if found.get("edge") == "" else found.get("edge"),
        "certificate_days": (found.get("certificate") or {}).get("days"),
        "member": "ok" if found.get("member") == "" else found.get("member"),
        "beat_tick_age": (found.get("beat") or {}).get("age"),
        "timers": found.get("timers", []),
        "disks": found.get("disks", []),
    }


def as_holders(looks: Mapping[str, Mapping[str, Any]], app: str, figures: Mapping[str, Any]) -> list[Holder]:
    """Those who hold messages, with what all hosts of the broker know of them."""
    settings = value_of(next(iter(looks.values())), "settings") or {}
    limits = {node: found for look in looks.values() for node, found in look["limits"].items()}
    answers = [found for look in looks.values() if (found := value_of(look, "workers"))]
    answering = {node for answer in answers for node in answer["nodes"]} if answers else None
    # A draining worker does not answer, and one of an older package does not say that it lives.
    present = {
        f"{program['name']}@{expected.rpartition('@')[2]}"
        for look in looks.values()
        for expected in (value_of(look, "workers") or {"expected": []})["expected"]
        for program in look["programs"]
        if program["state"] in PRESENT
    }

    def program_of(node: str) -> str:
        return f"{app}-worker-{node.partition('@')[0]}" if node else ""

    def lives(holder: Mapping[str, Any]) -> bool | None:
        node = holder["node"]
        if not node:
            return None
        if holder["seen"] is not None:
            return bool(holder["seen"] <= SILENT_SECONDS)
        if f"{program_of(node)}@{node.rpartition('@')[2]}" in present:
            return True
        if answering is None:
            return None
        if node in answering:
            return True
        # Who has just started may not answer yet.
        return False if (holder["oldest_unacknowledged"] or 0) > SILENT_SECONDS else None

    def as_holder(holder: Mapping[str, Any], living: Iterable[Mapping[str, Any]]) -> Holder:
        node = holder["node"]
        pool = limits.get(node.partition("@")[0], {})
        own = pool.get("time_limit") or settings.get("default_time_limit")
        others = settings.get("longest_task_time_limit", 0), figures["longest_call_time_limit"]
        return {
            "node": node,
            "program": program_of(node),
            "unacknowledged": holder["unacknowledged"],
            "oldest_unacknowledged": holder["oldest_unacknowledged"],
            "oldest_due": holder["oldest_due"],
            "task": holder["task"],
            # What consumes by itself runs no tasks.
            "time_limit": float(max(own, *others)) if own and node else None,
            "prefetch_multiplier": pool.get(
                "prefetch_multiplier", settings.get("default_prefetch_multiplier", 1)
            ),
            "seen": holder["seen"],
            "alive": lives(holder),
            # A worker is certain of dead processes of its own machine, and of its own name only.
            "recovered_by": sorted(
                other["node"]
                for other in living
                if other is not holder and (other["machine"] == holder["machine"] or other["node"] == node)
            )
            if lives(holder) is False
            else [],
        }

    living = [holder for holder in figures["holders"] if lives(holder)]
    return [as_holder(holder, living) for holder in figures["holders"] if holder["unacknowledged"]]


def as_broker(looks: Mapping[str, Mapping[str, Any]], app: str) -> Broker:
    """One broker, as the hosts that use it tell: figures of the first, consumers and pools of all."""
    first = next(iter(looks.values()))
    info = value_of(first, "broker")
    told = [found for look in looks.values() if (found := value_of(look, "queues"))]
    figures = told[0] if told else None
    # A host tells of the queues of its own pools, and of those that have messages.
    queues = {queue["name"]: queue for found in reversed(told) for queue in found["queues"]}
    answers = [found for look in looks.values() if (found := value_of(look, "workers"))]
    nodes = {node: names for answer in answers for node, names in answer["nodes"].items()}
    pools: dict[str, set[str]] = {}
    for look in looks.values():
        for pool, names in look["pools"].items():
            for name in names:
                pools.setdefault(name, set()).add(pool.rpartition(".")[0])
    used = info["used_memory"]
    return {
        "hosts": list(looks),
        # What Redis compares with its limit leaves out the buffers of replicas and of the append-only file.
        "used_memory": None if used is None else used - (info["mem_not_counted_for_evict"] or 0),
        "maxmemory": info["maxmemory"],
        "maxmemory_policy": info["maxmemory_policy"],
        "aof_enabled": None if info["aof_enabled"] is None else bool(info["aof_enabled"]),
        "aof_last_write_status": info["aof_last_write_status"],
        "aof_last_bgrewrite_status": info["aof_last_bgrewrite_status"],
        "loading": None if info["loading"] is None else bool(info["loading"]),
        "visibility_timeout": float((value_of(first, "settings") or {}).get("visibility_timeout", 3600)),
        "unacknowledged": figures["unacknowledged"] if figures else 0,
        "dead_letters": figures["dead_letters"] if figures else 0,
        "holders": as_holders(looks, app, figures) if figures else [],
        "queues": [
            {
                "name": queue["name"],
                "waiting": queue["waiting"],
                "oldest_waiting": queue["oldest_waiting"],
                "unacknowledged": queue["unacknowledged"],
                "oldest_unacknowledged": queue["oldest_unacknowledged"],
                "consumers": sum(queue["name"] in names for names in nodes.values()) if answers else None,
                "pools": sorted(pools.get(queue["name"], [])),
            }
            for _, queue in sorted(queues.items())
        ],
    }


def brokers_of(looks: Mapping[str, Mapping[str, Any]], app: str) -> list[Broker]:
    """The brokers that hosts of an application use: several hosts that say the same of one use the same."""
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for host, look in looks.items():
        if info := value_of(look, "broker"):
            run, *rest = info["identity"]
            # A Redis that does not tell who it is: one of its own for each host.
            groups.setdefault(json.dumps([run or host, *rest]), {})[host] = look
    return [as_broker(group, app) for group in groups.values()]


def app_report(name: str, items: Iterable[Mapping[str, Any]]) -> tuple[App, list[Reason]]:
    """One application with its reasons."""
    reasons: list[Reason] = []

    def add(host: str, findings: Iterable[Finding]) -> None:
        for found in findings:
            text = f"{host}: {found.what}: {found.value}; {found.rule}; {found.do}"
            reasons.append({"app": name, "host": host, "text": text, **found._asdict()})  # type: ignore[typeddict-item]

    hosts: list[Host] = []
    looks: dict[str, dict[str, Any]] = {}
    for item in items:
        look, problem = seen(item)
        host = as_host(item, look)
        hosts.append(host)
        if look is None:
            do = "see that it runs and that you can log in; it needs python3, and root or sudo"
            add(host["name"], [Finding("host", problem, "Ansible can look at it", do)])
            continue
        looks[host["name"]] = look
        for check in CHECKS_OF_HOSTS:
            add(host["name"], check(look, name, host["groups"]))
    brokers = brokers_of(looks, name)
    for broker in brokers:
        for broker_check in CHECKS_OF_BROKERS:
            add(broker["hosts"][0], broker_check(broker))
    releases = sorted({host["release"] for host in hosts if host["release"]})
    if len(releases) > 1:
        rule, do = "all hosts serve the same", "run deploy.yml for all of them"
        add(hosts[0]["name"], [Finding("releases", ", ".join(releases), rule, do, WARNING)])
    state = worst(reason["state"] for reason in reasons)
    return {"name": name, "state": state, "hosts": hosts, "brokers": brokers}, reasons


def status_report(items: list[Mapping[str, Any]]) -> Report:
    """Judge what the hosts have told; the worst reasons come first."""
    apps, reasons = [], []
    for name in dict.fromkeys(str(item["app"]) for item in items):
        app, found = app_report(name, [item for item in items if item["app"] == name])
        apps.append(app)
        reasons += found
    reasons.sort(key=lambda reason: -STATES.index(reason["state"]))
    return {"state": worst(app["state"] for app in apps), "reasons": reasons, "apps": apps}


class FilterModule:
    """The plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"status_report": status_report}
