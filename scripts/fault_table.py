"""Writes what the fault tests have measured: bench/results/faults.json and the table in docs/promises.md.

Usage: fault_table.py RESULTS [RESULTS...]     (files of lines that tests/faults has written)
       fault_table.py --keep RESULTS...        (rows without results in these files keep their figures)
       fault_table.py --check                  (writes nothing; fails if the table is not the JSON file's)
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent
ROWS = PROJECT / "tests/faults/rows.yml"
PAGE = PROJECT / "docs/promises.md"
RESULTS = PROJECT / "bench/results/faults.json"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
#: Figures that say how much was at stake are added up; of all others the worst counts.
SUMS = {"tasks acknowledged", "publishes refused", "requests failed"}


def load(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the records of files of results."""
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def worst(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each figure once: its worst value of all runs, or the sum."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        for measure in record["measures"]:
            known = found.setdefault(measure["what"], {**measure, "value": 0})
            if measure["what"] in SUMS:
                known["value"] += measure["value"]
            elif (measure["given_up"], measure["value"]) >= (known["given_up"], known["value"]):
                known |= measure
    return list(found.values())


def broken(measure: Mapping[str, Any]) -> bool:
    """Return whether a figure is worse than what was promised."""
    return measure["at_most"] is not None and (measure["given_up"] or measure["value"] > measure["at_most"])


def shown(measures: Iterable[Mapping[str, Any]]) -> str:
    """Return figures for people."""
    return "; ".join(
        f"{m['what']} {'over ' if m['given_up'] else ''}{m['value']:g}{' ' + m['unit'] if m['unit'] else ''}"
        for m in measures
    )


def summary(rows: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a line of the table for each row.

    Raises ValueError for results of a row that there is not.
    """
    if strange := {record["row"] for record in records} - {row["row"] for row in rows}:
        raise ValueError(f"results of rows that are not in {ROWS.name}: {', '.join(sorted(strange))}")
    lines = []
    for row in rows:
        own = [record for record in records if record["row"] == row["row"]]
        runs = [record for record in own if not record["control"]]
        controls = [
            {"off": record["control"], "measures": record["measures"], "holds": record["holds"]}
            for record in own
            if record["control"]
        ]
        lines.append(
            {
                **row,
                "runs": len(runs),
                "holds": all(run["holds"] for run in runs) if runs else None,
                "measures": worst(runs),
                "errors": sorted({run["error"] for run in runs if run["error"]}),
                "controls": controls,
            }
        )
    return lines


def with_kept(lines: Iterable[dict[str, Any]], kept: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines; one without results gets the figures of the kept line of its row."""
    known = {line["row"]: line for line in kept}
    figures = ("runs", "holds", "measures", "errors", "controls")

    def filled(line: dict[str, Any]) -> dict[str, Any]:
        if line["runs"] or line["controls"] or line["row"] not in known:
            return line
        return {**line, **{name: known[line["row"]][name] for name in figures}}

    return list(map(filled, lines))


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return the table in Markdown."""
    text = [
        "| # | Fault | Promise | Runs | Measured, the worst of all runs | Holds | Without the hardening |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        if line.get("shown"):
            measured, holds, runs = line["shown"], "-", "-"
        else:
            measured = shown(line["measures"]) or "not run"
            holds = {True: "yes", False: "**no**", None: "-"}[line["holds"]]
            runs = str(line["runs"])
        controls = "<br>".join(
            f"{control['off']}: {shown(filter(broken, control['measures'])) or 'no difference'}"
            for control in line["controls"]
        )
        cells = [line["row"], line["fault"], line["promise"], runs, measured, holds, controls or "-"]
        text.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(text)


def with_table(page: str, text: str) -> str:
    """Return the page with that table between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or END not in rest:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"


def main() -> int:
    """Exit status: 0, or 1 if the table is not current."""
    parser = argparse.ArgumentParser(description="The table of docs/promises.md.")
    parser.add_argument("results", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    if bool(arguments.results) == arguments.check:
        parser.error("name files of results, or --check")
    if arguments.check:
        current = with_table(PAGE.read_text(), table(json.loads(RESULTS.read_text())))
        if current != PAGE.read_text():
            print(f"{PAGE.name} is not current: run scripts/fault_table.py RESULTS", file=sys.stderr)
            return 1
        return 0
    lines = summary(yaml.safe_load(ROWS.read_text()), load(arguments.results))
    if arguments.keep:
        lines = with_kept(lines, json.loads(RESULTS.read_text()))
    RESULTS.write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(with_table(PAGE.read_text(), table(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
