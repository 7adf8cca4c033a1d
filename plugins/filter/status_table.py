# Copyright: Rootstock contributors
# MIT License (see LICENSE)
"""Ansible filter: the report of status_report as a table for people."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: status_table
short_description: The report of the filter C(status_report) as text
description:
  - Returns one table for each application, with the warnings below it, in lines of at most 92 characters.
options:
  _input:
    description: What the filter C(status_report) has returned.
    type: dict
    required: true
author: Rootstock contributors
"""

EXAMPLES = r"""
- name: Print it
  ansible.builtin.debug:
    msg: "{{ seen | status_report | status_table }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

# Ansible indents what it prints by 8: 100 in all.
WIDTH = 92
GAP = "  "
UNKNOWN = "-"

#: Headings and the most characters that each column gets; with the gaps at most WIDTH.
HOST_COLUMNS = {"HOST": 20, "RELEASE": 12, "GENERATION": 11, "WEB": 5, "CERT": 6, "BEAT": 8, "DISK FREE": 16}
PROGRAM_COLUMNS = {"PROGRAM": 46, "HOST": 20, "STATE": 12, "AGE": 8}
TIMER_COLUMNS = {"TIMER": 36, "HOST": 20, "STATE": 8, "LAST RUN": 12, "AGE": 8}
QUEUE_COLUMNS = {"QUEUE": 22, "WAITING": 9, "FOR": 8, "UNACKED": 9, "OLDEST": 8, "CONSUMERS": 9, "POOLS": 15}


def age(seconds: float | None) -> str:
    """A time in its largest unit that has at least two of it."""
    if seconds is None:
        return UNKNOWN
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def size(amount: float | None) -> str:
    """A number of bytes in its largest unit."""
    if amount is None:
        return UNKNOWN
    for unit, name in ((1000**3, "GB"), (1000**2, "MB")):
        if amount >= unit:
            return f"{amount / unit:.1f} {name}"
    return f"{amount / 1000:.0f} kB"


def table(columns: Mapping[str, int], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, columns as wide as they need to be; what is too long ends with three dots."""
    cells = [
        [
            cell if len(cell) <= most else f"{cell[: most - 3]}..."
            for cell, most in zip(row, columns.values(), strict=True)
        ]
        for row in [list(columns), *rows]
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def host_row(host: Mapping[str, Any]) -> list[str]:
    """Columns of HOST_COLUMNS; of the disks the one with the smallest share that is free."""
    if not host["reached"]:
        return [host["name"], "not reached", *[UNKNOWN] * (len(HOST_COLUMNS) - 2)]
    web, days = host["web"] or host["edge"], host["certificate_days"]
    disk = min(host["disks"], key=lambda disk: disk["free"] / (disk["total"] or 1), default=None)
    return [
        host["name"],
        host["release"] or UNKNOWN,
        host["generation"] or UNKNOWN,
        UNKNOWN if web is None else ("ok" if web == "ok" else "fault"),
        UNKNOWN if days is None else f"{days:.0f} d",
        age(host["beat_tick_age"]),
        f"{disk['free'] / (disk['total'] or 1):.0%} {disk['path']}" if disk else UNKNOWN,
    ]


def program_rows(hosts: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Columns of PROGRAM_COLUMNS, one row for each program of each host."""
    for host in hosts:
        for program in host["programs"]:
            state = program["state"] if program["wanted"] else f"({program['state'].lower()})"
            yield [program["name"], host["name"], state, age(program["age"])]


def timer_rows(hosts: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Columns of TIMER_COLUMNS, one row for each timer of each host."""
    for host in hosts:
        for timer in host["timers"]:
            result = timer["result"] or "not yet"
            yield [
                timer["name"],
                host["name"],
                "waits" if timer["waits"] else "stopped",
                result,
                age(timer["age"]),
            ]


def broker_lines(broker: Mapping[str, Any]) -> Iterator[str]:
    """What Redis says of itself, then its queues."""
    on = {None: "unknown", False: "off", True: "on"}[broker["aof_enabled"]]
    limit = size(broker["maxmemory"]) if broker["maxmemory"] != 0 else "no limit"
    facts = [
        f"Redis of {', '.join(broker['hosts'])}: {size(broker['used_memory'])} of {limit}",
        broker["maxmemory_policy"] or "policy unknown",
        f"append-only file {on}",
        f"last write {broker['aof_last_write_status'] or 'unknown'}",
        f"last rewrite {broker['aof_last_bgrewrite_status'] or 'unknown'}",
        *(["loading"] if broker["loading"] else []),
        f"{broker['unacknowledged']} unacknowledged",
        *([f"{broker['dead_letters']} dead letters"] if broker["dead_letters"] else []),
    ]
    yield from textwrap.wrap(", ".join(facts), WIDTH, subsequent_indent=GAP)
    yield ""
    yield from table(
        QUEUE_COLUMNS,
        (
            [
                queue["name"],
                str(queue["waiting"]),
                age(queue["oldest_waiting"]),
                str(queue["unacknowledged"]),
                age(queue["oldest_unacknowledged"]),
                UNKNOWN if queue["consumers"] is None else str(queue["consumers"]),
                ",".join(queue["pools"]) or UNKNOWN,
            ]
            for queue in broker["queues"]
        ),
    )


def status_table(report: Mapping[str, Any]) -> str:
    """The whole report as text, without the reasons that make it unhealthy: the run ends with those."""
    lines: list[str] = []
    for app in report["apps"]:
        lines += [f"{app['name']}: {app['state']}", "", *table(HOST_COLUMNS, map(host_row, app["hosts"])), ""]
        if any(host["programs"] for host in app["hosts"]):
            lines += [*table(PROGRAM_COLUMNS, program_rows(app["hosts"])), ""]
        if any(host["timers"] for host in app["hosts"]):
            lines += [*table(TIMER_COLUMNS, timer_rows(app["hosts"])), ""]
        for broker in app["brokers"]:
            lines += [*broker_lines(broker), ""]
    for reason in report["reasons"]:
        if reason["state"] == "warning":
            lines += textwrap.wrap(f"warning: {reason['text']}", WIDTH, subsequent_indent=GAP)
    return "\n".join(lines).rstrip()


class FilterModule:
    """The plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"status_table": status_table}
