"""Row 49: schedules of `make chaos` that have failed once, reduced to the faults that are needed."""

import os
from pathlib import Path

import pytest

from chaos.oracle import judge
from chaos.run import Server
from chaos.schedule import Schedule
from stack import PROJECT
from trial import Trial

SCHEDULES = sorted((PROJECT / "tests/chaos/schedules").glob("*.json"))
FIGURES = ("lost", "stuck", "duplicated beyond in flight", "early", "expired", "set aside", "status lies")


@pytest.mark.row("49")
@pytest.mark.parametrize("path", SCHEDULES, ids=lambda path: path.stem)
def test_a_schedule_that_failed_once(trial: Trial, path: Path, tmp_path: Path) -> None:
    inventory = str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")
    server = Server(trial.stack, inventory, tmp_path)
    verdict = judge(server.run(Schedule.from_json(path.read_text())))
    trial.measure("tasks acknowledged", verdict.figures["acknowledged"])
    for name in FIGURES:
        trial.measure(name, verdict.figures[name], at_most=0)
    trial.measure("all violations", len(verdict.violations), at_most=0)
    print("\n".join(f"{violation.kind}: {violation.what}" for violation in verdict.violations))
