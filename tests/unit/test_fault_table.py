"""The table of what the fault suite has measured."""

import json
import re
from typing import Any

import fault_table
import pytest
import yaml

ROWS = [
    {"row": "5", "fault": "kill -9 of Redis", "promise": "0 lost"},
    {"row": "7", "fault": "x", "promise": "y"},
]


def record(
    *measures: dict[str, Any], row: str = "5", control: str = "", holds: bool = True
) -> dict[str, Any]:
    return {"row": row, "run": 1, "control": control, "measures": measures, "holds": holds, "error": ""}


def measure(what: str, value: float, at_most: float | None = None, given_up: bool = False) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": "s", "at_most": at_most, "given_up": given_up}


def test_every_row_has_a_test_or_says_where_it_is_shown() -> None:
    tests = "".join(path.read_text() for path in (fault_table.PROJECT / "tests/faults").glob("test_*.py"))
    tested = set(re.findall(r'mark\.row\("(\w+)"\)', tests))
    rows = yaml.safe_load(fault_table.ROWS.read_text())
    assert {row["row"] for row in rows if not row.get("shown")} == tested


def test_the_worst_of_several_runs_is_told_and_counts_are_added() -> None:
    found = fault_table.worst(
        [
            record(measure("back", 3, 10), measure("tasks acknowledged", 100), measure("lost", 0, 0)),
            record(measure("back", 9, 10), measure("tasks acknowledged", 50), measure("lost", 2, 0)),
            record(measure("back", 5, 10, given_up=True), measure("tasks acknowledged", 1)),
        ]
    )
    assert [(m["what"], m["value"], m["given_up"]) for m in found] == [
        ("back", 5, True),
        ("tasks acknowledged", 151, False),
        ("lost", 2, False),
    ]


def test_one_run_that_did_not_hold_is_told_and_a_control_does_not_count() -> None:
    lost = measure("lost", 80, 0)
    good, bad = record(measure("lost", 0, 0)), record(measure("lost", 1, 0), holds=False)
    control = record(lost, control="AOF off", holds=False)
    text = fault_table.table(fault_table.summary(ROWS, [good, control]))
    assert "| 5 | kill -9 of Redis | 0 lost | 1 | lost 0 s | yes | AOF off: lost 80 s |" in text
    assert "| 5 | kill -9 of Redis | 0 lost | 2 | lost 1 s | **no** |" in fault_table.table(
        fault_table.summary(ROWS, [good, bad])
    )
    assert "| 7 | x | y | 0 | not run |" in text


def test_a_row_without_results_keeps_its_figures() -> None:
    old = fault_table.summary(ROWS, [record(measure("lost", 1, 0)), record(measure("back", 2, 3), row="7")])
    new = fault_table.summary(ROWS, [record(measure("lost", 0, 0))])
    assert [line["measures"][0]["value"] for line in fault_table.with_kept(new, old)] == [0, 2]
    assert fault_table.with_kept(new, []) == new


def test_results_of_an_unknown_row_are_refused() -> None:
    with pytest.raises(ValueError, match="rows that are not in"):
        fault_table.summary(ROWS, [record(row="99")])


def test_the_page_has_the_committed_results() -> None:
    lines = json.loads(fault_table.RESULTS.read_text())
    page = fault_table.PAGE.read_text()
    assert page == fault_table.with_table(page, fault_table.table(lines))
