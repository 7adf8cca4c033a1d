"""Write what the fault suite has measured into docs/promises.md and docs/promises.json.

Usage: fault_table.py RESULTS. Each line of RESULTS is the record of a run (tests/trial.py). Of several runs
the worst figure is told. Exit status 1 if a run did not hold what was promised.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "tests"))

from trial import Measure, Record  # noqa: E402 - it lies with the tests

PAGE = PROJECT / "docs/promises.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"


@dataclass(frozen=True)
class Row:
    """A row of the page: what is promised, from the page itself."""

    number: str
    fault: str
    promise: str


def rows(page: str) -> list[Row]:
    """The rows of the table of promises, in their order."""
    found = []
    for line in page.partition(BEGIN)[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] not in ("#", "---"):
            found.append(Row(*cells))
    return found


def worst(records: Iterable[Record]) -> list[Measure]:
    """Of each figure the worst, in the order of their first mention."""
    found: dict[str, Measure] = {}
    for measure in (measure for record in records for measure in record.measures):
        known = found.get(measure.what)
        # Of what has no limit the sum says more than the largest.
        if known and known.at_most is None and measure.at_most is None:
            measure = Measure(measure.what, round(known.value + measure.value, 2), measure.unit)
        if (
            known is None
            or measure.at_most is None
            or (measure.given_up, measure.value) > (known.given_up, known.value)
        ):
            found[measure.what] = measure
    return list(found.values())


def verdict(records: Sequence[Record]) -> str:
    """Whether a promise was kept in all runs."""
    kept = sum(record.holds is True for record in records)
    return f"{'yes' if kept == len(records) else '**no**'}, {kept} of {len(records)}"


def control_figure(record: Record) -> str:
    """What has gone wrong without the hardening."""
    return f"{record.control}: {'; '.join(record.broken) or 'nothing'}"


def total(records: Iterable[Record], what: str) -> float:
    """The sum of a figure over all runs, the controls left out."""
    return sum(m.value for record in records if not record.control for m in record.measures if m.what == what)


def table(page: str, records: Sequence[Record]) -> str:
    """The results as a table, for the rows that were run."""
    lines = ["| # | Measured, the worst of all runs | Kept | Without the hardening |", "|---|---|---|---|"]
    for row in rows(page):
        mine = [record for record in records if record.row == row.number]
        runs = [record for record in mine if not record.control]
        if runs:
            figures = "; ".join(map(str, worst(runs)))
            errors = "; ".join(record.error for record in runs if record.error)
            controls = "<br>".join(control_figure(record) for record in mine if record.control) or "-"
            text = f"{figures}; {errors}" if errors else figures
            lines.append(f"| {row.number} | {text} | {verdict(runs)} | {controls} |")
    acknowledged, lost = total(records, "tasks acknowledged"), total(records, "lost")
    return "\n".join([f"{acknowledged:,.0f} tasks acknowledged in all runs, {lost:.0f} lost.", "", *lines])


def main(results: Path) -> int:
    """Exit status: 0 if every run has kept its promise."""
    records = [Record.parse(line) for line in results.read_text().splitlines()]
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(page, records)}\n\n{END}{after}")
    (PROJECT / "docs/promises.json").write_text(
        json.dumps([json.loads(line) for line in results.read_text().splitlines()], indent=1) + "\n"
    )
    return 0 if all(record.holds for record in records if not record.control) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
