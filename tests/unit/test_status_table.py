"""How playbooks/status.yml shows what it has found, and the page that describes it."""

import re
from typing import Any

import pytest

from repository import PROJECT
from status_looks import GROUPS, LOOK, QUEUE, change, item, judge, program, report_module, table_module

# --- The table


def table(*items: dict[str, Any]) -> str:
    text: str = table_module.status_table(judge(*items))
    return text


def test_the_table_has_what_people_ask_for() -> None:
    draining = program("shop-worker-default.bbbbbbbb", state="STOPPING", wanted=False, age=7200)
    look = LOOK | {"programs": [*LOOK["programs"], draining]}
    assert table(item(look)) == (
        "shop: healthy\n"
        "\n"
        "HOST  RELEASE       GENERATION  WEB  CERT  BEAT   DISK FREE\n"
        "one   0f3a9c51be77  aaaaaaaa    ok   60 d  2 min  50% /\n"
        "\n"
        "PROGRAM                       HOST  STATE       AGE\n"
        "shop-beat                     one   RUNNING     60 min\n"
        "shop-flower                   one   RUNNING     60 min\n"
        "shop-web.aaaaaaaa             one   RUNNING     60 min\n"
        "shop-worker-default.aaaaaaaa  one   RUNNING     60 min\n"
        "shop-worker-default.bbbbbbbb  one   (stopping)  2 h\n"
        "\n"
        "TIMER     HOST  STATE  LAST RUN  AGE\n"
        "sessions  one   waits  success   60 s\n"
        "\n"
        "Redis of one: 10.0 MB of 100.0 MB, noeviction, append-only file on, last write ok, last\n"
        "  rewrite ok, 1 unacknowledged\n"
        "\n"
        "QUEUE    WAITING  FOR   UNACKED  OLDEST  CONSUMERS  POOLS\n"
        "default  3        12 s  1        30 s    1          default"
    )


def test_warnings_are_below_the_table_and_what_ends_the_run_is_not() -> None:
    text = table(item(change("certificate/days", 10.0)), item(change("web", "502 Bad Gateway"), "two"))
    assert "\nwarning: one: certificate: ends in 10 days;" in text
    assert "502" not in text
    assert "fault" in text


def test_a_host_without_figures_has_a_row() -> None:
    bare: dict[str, Any] = dict.fromkeys(LOOK)
    bare |= {"release": "", "generation": "", "supervisor": "", "programs": []}
    bare |= {"pools": {}, "timers": [], "disks": [], "application": {}}
    lost = {"host": "two", "app": "shop", "groups": GROUPS, "look": {"msg": "gone"}}
    rows = table(item(bare), lost).splitlines()
    assert rows[3].split() == ["one", *"------"]
    assert rows[4].split() == ["two", "not", "reached", *"-----"]


def test_nothing_is_wider_than_the_terminal() -> None:
    long = "x" * 200
    look = change(f"{QUEUE}/name", long, change("disks/0/path", f"/{long}"))
    look["programs"][0]["name"] = long
    look["release"] = look["generation"] = long
    look["pools"] = {f"{long}.aaaaaaaa": [long]}
    text = table(item(look, long), item(change("web", long), "two"))
    assert max(map(len, text.splitlines())) <= table_module.WIDTH
    assert table_module.WIDTH + 8 <= 100
    assert "..." in text


@pytest.mark.parametrize("columns", ["HOST_COLUMNS", "PROGRAM_COLUMNS", "TIMER_COLUMNS", "QUEUE_COLUMNS"])
def test_columns_fit_at_their_widest(columns: str) -> None:
    widths = getattr(table_module, columns)
    assert sum(widths.values()) + len(table_module.GAP) * (len(widths) - 1) <= table_module.WIDTH


# --- The page


def documented() -> dict[str, list[str]]:
    """Return the fields that docs/status.md lists, by the name of the part."""
    page = (PROJECT / "docs/status.md").read_text()
    return {
        heading: re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        for heading, section in re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    }


def test_the_page_lists_every_field_in_order() -> None:
    parts = {
        "The report": report_module.Report,
        "A reason": report_module.Reason,
        "An app": report_module.App,
        "A host": report_module.Host,
        "A program": report_module.Program,
        "A timer": report_module.Timer,
        "A disk": report_module.Disk,
        "A broker": report_module.Broker,
        "A holder": report_module.Holder,
        "A queue": report_module.Queue,
    }
    assert documented() == {name: list(part.__annotations__) for name, part in parts.items()}


def test_the_report_has_exactly_these_fields() -> None:
    found = judge(item(change("certificate/days", 10.0)))
    (app,) = found["apps"]
    parts = [
        (found, report_module.Report),
        (found["reasons"][0], report_module.Reason),
        (app, report_module.App),
        (app["hosts"][0], report_module.Host),
        (app["hosts"][0]["programs"][0], report_module.Program),
        (app["hosts"][0]["timers"][0], report_module.Timer),
        (app["hosts"][0]["disks"][0], report_module.Disk),
        (app["brokers"][0], report_module.Broker),
        (app["brokers"][0]["holders"][0], report_module.Holder),
        (app["brokers"][0]["queues"][0], report_module.Queue),
    ]
    for value, part in parts:
        assert set(value) == set(part.__annotations__)


def test_the_page_names_the_limits() -> None:
    page = (PROJECT / "docs/status.md").read_text()
    limits = [
        f"{report_module.CERTIFICATE_DAYS} days",
        f"{report_module.CERTIFICATE_WARNING_DAYS} days",
        f"{report_module.DISK_FREE_SHARE:.0%}".replace("%", " %"),
        f"{report_module.DISK_FREE_BYTES // 1000**2} MB",
        f"{report_module.MEMORY_SHARE:.0%}".replace("%", " %"),
        f"{report_module.RESTORE_SECONDS} s",
        f"{report_module.SILENT_SECONDS} s",
        f"{report_module.ACKNOWLEDGE_SECONDS} s",
        f"{report_module.BEAT_SYNC_SECONDS + 300 + report_module.BEAT_MARGIN_SECONDS} s",
    ]
    assert [limit for limit in limits if limit not in page] == []
