"""The figures of a fault test: when something works again, and what breaks a promise."""

from pathlib import Path

import pytest

from traffic import Ledger
from trial import Measure, Record, first_done

LEDGER = Ledger(
    "r",
    ["r/0", "r/1", "r/2"],
    published={"r/0": 9.0, "r/1": 11.0, "r/2": 12.0},
    queues={"r/0": "default", "r/1": "default", "r/2": "critical"},
)


def test_what_was_published_before_the_fault_does_not_count() -> None:
    done = {"r/0": (10.5, 10.6), "r/1": (11.0, 14.0)}
    assert first_done(LEDGER, done, 10, backlog=False) == {"default": 14.0, "critical": None}


def test_of_a_queue_that_is_long_it_counts_when_it_was_begun() -> None:
    done = {"r/0": (10.5, 10.6), "r/1": (11.0, 14.0), "r/2": (9.0, 15.0)}
    assert first_done(LEDGER, done, 10, backlog=True) == {"default": 10.6, "critical": None}


@pytest.mark.parametrize(
    ("measure", "holds"),
    [
        (Measure("lost", 0, at_most=0), True),
        (Measure("lost", 1, at_most=0), False),
        (Measure("back", 9.9, "s", 10), True),
        (Measure("back", 30, "s", 60, given_up=True), False),
        (Measure("refused", 500), True),
    ],
)
def test_a_promise_is_kept_up_to_its_limit(measure: Measure, holds: bool) -> None:
    assert measure.holds is holds


def test_a_record_is_read_as_it_is_written(tmp_path: Path) -> None:
    written = Record("5", 1, measures=[Measure("lost", 1, at_most=0)], holds=False)
    written.write(tmp_path / "results/file")
    written.write(tmp_path / "results/file")
    lines = (tmp_path / "results/file").read_text().splitlines()
    assert [Record.parse(line) for line in lines] == [written, written]
    assert written.broken == ["lost: 1 (at most 0)"]
