"""The table of what `make chaos` has measured."""

import json
from typing import Any

import chaos_table
from fault_table import with_table


def record(seed: int, profile: str, *violations: str, **figures: float) -> dict[str, Any]:
    faults = [{"kind": "power"}, {"kind": "deploy"}, {"kind": "power"}]
    return {
        "schedule": {"seed": seed, "profile": profile, "faults": faults},
        "figures": dict.fromkeys(chaos_table.COLUMNS, 0) | {"seconds": 300} | figures,
        "violations": [{"kind": kind, "what": "x"} for kind in violations],
    }


def test_a_run_is_a_line_with_its_faults_and_violations() -> None:
    runs = [
        record(2, "power", "lost", "left over", "left over", acknowledged=900, lost=1),
        record(1, "power"),
    ]
    text = chaos_table.table(chaos_table.summary(runs))
    assert text.splitlines()[2:] == [
        "| 1 | power | 1 deploy, 2 power | 0 | 0 | 0 | 0 | 0 | 0 | - | 300 |",
        "| 2 | power | 1 deploy, 2 power | 900 | 1 | 0 | 0 | 0 | 0 | 2 left over | 300 |",
    ]


def test_the_page_has_the_committed_results() -> None:
    lines = json.loads(chaos_table.RESULTS.read_text())
    page = chaos_table.PAGE.read_text()
    assert page == with_table(page, chaos_table.table(lines))


def test_a_schedule_that_ran_again_replaces_its_line_and_keeps_the_others() -> None:
    kept = chaos_table.summary([record(1, "power", "lost", lost=1), record(1, "mixed")])
    again = chaos_table.summary([record(1, "power"), record(2, "mixed")])
    lines = chaos_table.merged(kept, again)
    assert [(line["schedule"], line["seed"], line["lost"]) for line in lines] == [
        ("mixed", 1, 0),
        ("mixed", 2, 0),
        ("power", 1, 0),
    ]
