"""Writes what `make chaos` has measured: bench/results/chaos.json and the table in docs/chaos.md.

Usage: chaos_table.py RESULTS [RESULTS...]     (files of lines that tests/chaos has written)
       chaos_table.py --keep RESULTS...        (keeps the lines of all other schedules and seeds)
       chaos_table.py --check                  (writes nothing; fails if the table is not the JSON file's)
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fault_table import load, with_table

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs/chaos.md"
RESULTS = PROJECT / "bench/results/chaos.json"
#: Figures with a column of their own, and the violations that they count.
COLUMNS = {
    "acknowledged": "",
    "lost": "lost",
    "stuck": "stuck",
    "duplicated beyond in flight": "duplicated",
    "early": "early",
    "status lies": "status lie",
}


def summary(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a line of the table for each run, in the order of schedules and seeds."""
    lines = [
        {
            "seed": record["schedule"]["seed"],
            "schedule": record["schedule"]["profile"],
            "faults": dict(sorted(Counter(fault["kind"] for fault in record["schedule"]["faults"]).items())),
            **{name: record["figures"][name] for name in COLUMNS},
            "others": dict(
                sorted(
                    Counter(
                        violation["kind"]
                        for violation in record["violations"]
                        if violation["kind"] not in COLUMNS.values()
                    ).items()
                )
            ),
            "seconds": record["figures"]["seconds"],
        }
        for record in records
    ]
    return sorted(lines, key=lambda line: (line["schedule"], line["seed"]))


def merged(kept: Iterable[Mapping[str, Any]], lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return lines that are kept, without those of a schedule and seed that ran again, and new lines."""
    found = {(line["schedule"], line["seed"]): dict(line) for line in [*kept, *lines]}
    return [found[key] for key in sorted(found)]


def counted(counts: Mapping[str, int]) -> str:
    """Return counts for people."""
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "-"


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table in Markdown."""
    titles = [name.capitalize() for name in COLUMNS]
    head = ["Seed", "Schedule", "Faults", *titles, "Other violations", "Seconds"]
    rows = [
        [
            str(line["seed"]),
            line["schedule"],
            counted(line["faults"]),
            *(f"{line[name]:g}" for name in COLUMNS),
            counted(line["others"]),
            f"{line['seconds']:g}",
        ]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def main() -> int:
    """Exit status: 0, or 1 if the table is not current."""
    parser = argparse.ArgumentParser(description="The table of docs/chaos.md.")
    parser.add_argument("results", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    if bool(arguments.results) == arguments.check:
        parser.error("name files of results, or --check")
    if arguments.check:
        current = with_table(PAGE.read_text(), table(json.loads(RESULTS.read_text())))
        if current != PAGE.read_text():
            print(f"{PAGE.name} is not current: run scripts/chaos_table.py RESULTS", file=sys.stderr)
            return 1
        return 0
    lines = merged(
        json.loads(RESULTS.read_text()) if arguments.keep else [], summary(load(arguments.results))
    )
    RESULTS.write_text(json.dumps(lines, indent=1) + "\n")
    PAGE.write_text(with_table(PAGE.read_text(), table(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
