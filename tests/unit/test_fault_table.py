"""The table of what the fault suite has measured."""

import fault_table

from trial import Measure, Record

PAGE = f"""# Page

| # | Fault | Promise |
|---|---|---|
| 5 | kill -9 of Redis | 0 lost |
| 7 | kill -9 of Nginx | back |

{fault_table.BEGIN}
| 9 | not a row | of the promises |
{fault_table.END}
"""


def record(
    row: str, *measures: Measure, control: str = "", error: str = "", holds: bool | None = True
) -> Record:
    return Record(row, 1, control, measures=list(measures), holds=holds, error=error)


def test_rows_are_those_of_the_page() -> None:
    assert [row.number for row in fault_table.rows(PAGE)] == ["5", "7"]


def test_the_page_of_the_project_has_a_row_for_every_test() -> None:
    page = fault_table.PAGE.read_text()
    tests = "".join(path.read_text() for path in (fault_table.PROJECT / "tests/faults").glob("test_*.py"))
    for row in fault_table.rows(page):
        assert f'row("{row.number}")' in tests


def test_the_worst_of_several_runs_is_told_and_counts_are_added() -> None:
    found = fault_table.worst(
        [
            record("5", Measure("back", 3, "s", 10), Measure("published", 100), Measure("lost", 0, "", 0)),
            record("5", Measure("back", 9, "s", 10), Measure("published", 50), Measure("lost", 2, "", 0)),
            record("5", Measure("back", 5, "s", 10, given_up=True), Measure("published", 1)),
        ]
    )
    assert [(m.what, m.value, m.given_up) for m in found] == [
        ("back", 5, True),
        ("published", 151, False),
        ("lost", 2, False),
    ]


def test_a_run_that_ended_otherwise_is_not_kept() -> None:
    kept, unknown = record("5"), record("5", holds=None, error="TimeoutError: x")
    assert fault_table.verdict([kept, kept]).startswith("yes, 2 of 2")
    assert fault_table.verdict([kept, unknown]) == "**no**, 1 of 2"


def test_controls_have_a_column_and_no_say_in_the_sums() -> None:
    text = fault_table.table(
        PAGE,
        [
            record("5", Measure("tasks acknowledged", 900), Measure("lost", 0, "", 0)),
            record("5", Measure("tasks acknowledged", 100), Measure("lost", 80, "", 0), control="AOF off"),
        ],
    )
    assert text.startswith("900 tasks acknowledged in all runs, 0 lost.")
    assert "AOF off: lost: 80 (at most 0)" in text
    assert "| 7 |" not in text
